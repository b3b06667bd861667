"""What a step of a stream costs on a CPU, at batch 1: dense, and driven by events, as few or many values change.

    python benchmarks/speed/stream_steps.py NAME=CONFIG... [--thresholds 0.25 0.5 ...] [--turns 15] [-o key=value]

A configuration names a set and its store of features. The heads are ``lmu`` and ``spiking_lmu`` of ``configs/`` for
this kind of set, each also with input and memory sent as changes that reach a threshold. Each is trained
and tested twice: on held-out training groups, by which a threshold may be chosen, and on the test videos. Then real
test clips go through each trained head frame by frame, in turns, by PyTorch's own operations and as ``step`` does it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import ROOT, make_table, write_section
from benchmarks.lib.timing import turns_of
from snn_action.config import load_config
from snn_action.datasets.catalog import Fold
from snn_action.evaluation.energy.count import count_head
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.models import TemporalModel, stream_step
from snn_action.runs import pipeline
from snn_action.runs.tuning.candidates import GIVEN, JOINED, Candidate
from snn_action.runs.tuning.validation import Validation, divide

CLIPS, HELD = 10, 1
HEADER = (
    *("set", "head", "threshold", "sent of input %", "sent of memory %", "spikes / neuron / step", "validation %"),
    *("test %", "PyTorch's operations, ms", "step, ms", "times lmu's"),
)


def read_head(kind: str, of: str) -> Candidate:
    """The head that comes for this kind of set."""
    prefix = "ucf101_features" if of == "features" else "weizmann"
    raw = json.loads((ROOT / "configs" / f"{prefix}_{kind}.json").read_text(encoding="utf-8"))
    return Candidate(raw["model"], GIVEN if of == "features" else JOINED, raw["training"])


def walk(model: TemporalModel, clips: list[Tensor], plain: bool) -> Callable[[], None]:
    """All frames of the clips (T, D), one after the other, from a state to the next."""

    def work() -> None:
        find = (lambda *_: None) if plain else stream_step.find_plan
        with mock.patch.object(stream_step, "find_plan", find), torch.inference_mode():
            for clip in clips:
                state: Any = None
                for frame in clip.split(1):
                    _, state = model.step(frame, state)

    return work


def show_sent(layers: list[Layer], name: str) -> str:
    """Share of the values that were sent, of all steps."""
    found = [layer for layer in layers if layer.name == f"sent {name} neurons"]
    return f"{100 * found[0].spikes / found[0].neuron_updates:.1f}" if found else "-"


def test_set(name: str, path: str, overrides: list[str], thresholds: list[float], turns: int) -> list[list[str]]:
    """The rows of one set."""
    config = load_config(path, overrides)
    data = pipeline.load_data(config)
    lmu, spiking = (read_head(kind, config.dataset.type) for kind in ("lmu", "spiking_lmu"))
    heads: dict[tuple[str, float | None], Candidate] = {("lmu", None): lmu, ("spiking_lmu", None): spiking}
    for (kind, _), head in list(heads.items()):
        for each in thresholds:
            changed = {**head.model, "input_threshold": each, "memory_threshold": each}
            heads[kind, each] = Candidate(changed, head.source, head.training)
    found: dict[tuple[str, float | None], list[str]] = {}
    works: dict[str, Callable[[], object]] = {}
    for key, head in heads.items():
        accuracies = []
        for tested in (False, True):
            right = []
            for fold in data.catalog.folds[: None if tested else HELD]:
                whole = [Fold(fold.name, fold.learned, fold.test)]
                validation = Validation(config, data, whole if tested else divide(data.catalog, fold, 4, config.seed))
                right += [score.right for score in validation.test(head)]
            accuracies.append(f"{100 * float(np.concatenate(right).mean()):.1f}")
        assert validation.model is not None
        model, seen = validation.model.cpu().eval(), validation._seen
        places = seen.clips_of(validation.inner[-1].test)[:CLIPS]
        clips = [seen.read([place])[0][0] for place in places]
        layers = [count_head(model, clip.unsqueeze(0), None) for clip in clips]
        joined = [layer for each in layers for layer in each]
        fired = [layer for layer in joined if layer.name == "hidden neurons"]
        rate = total(fired, "spikes") / total(fired, "neuron_updates") if fired else None
        found[key] = [
            name,
            key[0],
            "-" if key[1] is None else f"{key[1]:g}",
            *(show_sent(layers[0], part) for part in ("input", "memory")),
            "-" if rate is None else f"{rate:.3f}",
            *accuracies,
        ]
        frames = sum(len(clip) for clip in clips)
        for plain in (True, False):
            works[f"{key} {plain}"] = walk(model, clips, plain)
        print(*found[key], file=sys.stderr, flush=True)
    seconds = {label: statistics.median(each) / frames for label, each in turns_of(works, turns).items()}
    reference = seconds[f"{('lmu', None)} {False}"]
    for key, row_of in found.items():
        plain, own = seconds[f"{key} {True}"], seconds[f"{key} {False}"]
        row_of += [f"{1000 * plain:.3f}", f"{1000 * own:.3f}", f"{own / reference:.2f}"]
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--thresholds", nargs="*", type=float, default=[0.1, 0.25, 0.5, 1.0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    table: list[list[str]] = []
    for text in arguments.sets:
        name, _, path = text.partition("=")
        table += test_set(name, path, arguments.override, arguments.thresholds, arguments.turns)
    write_section(
        "Speed of a step of a stream",
        f"One frame after the other of {CLIPS} test clips, batch 1, {torch.get_num_threads()} thread(s), on trained "
        f"heads; milliseconds a frame, medians of {arguments.turns} turns in which all heads follow each other. "
        "*PyTorch's operations*: each part as a call of PyTorch. *Step*: what `step` does where it can: compiled code "
        "that reads the weights behind spikes and changes alone. *Threshold*: of sigma-delta coded input and memory "
        "(`input_threshold`, `memory_threshold`), in units of a frame's root mean square; *sent*: shares of the values "
        "that reached it, of the first of these clips. *Validation*: on held-out training groups. *Times lmu's*: of "
        "the `lmu` without a threshold. One seed.",
        make_table(HEADER, table),
    )


if __name__ == "__main__":
    main()
