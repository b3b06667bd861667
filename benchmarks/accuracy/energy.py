"""What heads cost and reach: accuracy against estimated energy, memory counted, of LMUs with spikes and without.

    python benchmarks/accuracy/energy.py NAME=CONFIG... [--seeds 5] [--trained-seeds 2] [--inner 4]
        [--widths 0.5 1 2 4] [--thresholds 0 0.5 1] [--encoders on_off selected] [--keep FOLDER]

A configuration names a set and its store of features. The heads are those of ``configs/`` for this kind of set, as they
come and without their training by gradients (*untrained*: only the readout is solved), and the *frugal* ones: of a list
of smaller heads the cheapest on the target 45nm whose accuracy on held-out training groups, in inner folds of each
fold, is at most 0.3 points, or not at all, below that of the LMU (untrained). The same rules choose among LMUs and
among spiking ones. Test videos choose nothing. What is counted is said in ``src/snn_action/evaluation/energy``. With
``--keep`` results stay in a folder: started again, the script goes on where it was cut.
"""

import argparse
import copy
import json
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.counting import CLIPS, count_mean
from benchmarks.lib.kept import keep_result
from benchmarks.lib.paired import compare as compare_right
from benchmarks.lib.table import ROOT, make_table, show, write_section
from snn_action.config import Config, load_config, make_config
from snn_action.datasets.catalog import Fold
from snn_action.evaluation import predict_clips
from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.energy.account import Account, Row, compare
from snn_action.evaluation.energy.estimate import estimate
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.evaluation.energy.summary import sum_levels
from snn_action.evaluation.energy.targets import load_target
from snn_action.evaluation.energy.traffic import Bytes
from snn_action.models import TemporalModel
from snn_action.models.rounding import has_matrices, round_matrices
from snn_action.runs import pipeline
from snn_action.runs.data import Data
from snn_action.runs.tuning.candidates import GIVEN, JOINED, LATE, Candidate
from snn_action.runs.tuning.validation import Validation, divide

BITS = 8
BATCH = 16
LOSSES = (0.3, 0.0)  # points that a smaller head may lose on validation
TARGETS = ("45nm", "loihi2")
UNTRAINED = {"epochs": 0, "validation_share": 0}
RATES = (1000.0, 300.0, 150.0)
HEADER = (
    *("head", "video %", "to lmu, points", "with 8 bits", "with 4 bits", "spikes / neuron / step", "effective, M"),
    *("updates, M", "bytes, MB: weights / activations / states", "45nm, µJ", "times lmu's", "loihi2, µJ", "crossover"),
)


@dataclass(frozen=True)
class Search:
    """What smaller heads are tried: units as multiples of the inputs, thresholds of changes (0: all is sent).

    ``keep`` is the folder for results, if there is one.
    """

    inner: int
    widths: list[float]
    thresholds: list[float]
    encoders: list[str]
    keep: Path | None


@dataclass
class Found:
    """One head on one set: a value a seed, of several folds their mean."""

    right: list[np.ndarray] = field(default_factory=list)  # by video
    quantized: dict[int, list[float]] = field(default_factory=lambda: {8: [], 4: []})
    rows: dict[str, list[Row]] = field(default_factory=dict)
    layers: list[list[Layer]] = field(default_factory=list)

    @property
    def accuracy(self) -> list[float]:
        """Of all test videos, by seed."""
        return [float(right.mean()) for right in self.right]


def read_head(config: Config, kind: str) -> Candidate:
    """The head that comes for this kind of set."""
    prefix = {"features": "ucf101_features", "weizmann": "weizmann"}.get(config.dataset.type, "folder")
    raw = json.loads((ROOT / "configs" / f"{prefix}_{kind}.json").read_text(encoding="utf-8"))
    if raw["model"]["type"] == "late_fusion":
        return Candidate(raw["model"]["model"], LATE, raw["training"])
    return Candidate(raw["model"], GIVEN if prefix == "ucf101_features" else JOINED, raw["training"])


def list_smaller(given: Candidate, size: int, search: Search) -> Iterator[Candidate]:
    """Heads with fewer units and inputs, few coefficients, what is sent as changes, and spikes at lower rates."""
    for width, order, sent, encoders in product(search.widths, (1, 2), search.thresholds, search.encoders):
        units = round(width * size)
        memories = size if encoders == "on_off" else units // (2 * order)
        if not 0 < memories <= size:
            continue
        coded = {"input_threshold": sent, "memory_threshold": sent} if sent else {}
        changed = {**given.model, "units": units, "order": order, "encoders": encoders, "memory_d": memories, **coded}
        if given.kind == "lmu":
            yield Candidate(changed, given.source, UNTRAINED)
            continue
        for rate in RATES:
            yield Candidate({**changed, "max_rates": (rate, rate)}, given.source, UNTRAINED)


def measure(candidate: Candidate, config: Config, data: Data, search: Search) -> tuple[float, float]:
    """Accuracy on held-out training groups, a mean over folds, and energy on the first target, in the first fold."""
    return keep_result(
        search.keep, partial(_measure, candidate, config, data, search.inner), candidate, config.to_json(), search.inner
    )


def _measure(candidate: Candidate, config: Config, data: Data, inner: int) -> tuple[float, float]:
    accuracies, energy = [], None
    for fold in data.catalog.folds:
        validation = Validation(config, data, divide(data.catalog, fold, inner, config.seed))
        right = np.concatenate([score.right for score in validation.test(candidate)])
        accuracies.append(float(right.mean()))
        if energy is None:
            energy = price(count(validation), TARGETS[0]).head
    return statistics.mean(accuracies), float("inf") if energy is None else energy


def count(validation: Validation, most: int = CLIPS) -> list[Layer]:
    """Layers of the last model on the mean of ``most`` clips of its test; matrices are rounded, as the estimate has."""
    assert validation.model is not None
    seen = validation._seen
    clips, model = seen.clips_of(validation.inner[-1].test), quantize(validation.model.cpu(), BITS)
    return count_mean(model, seen, clips, predict_clips(model, seen, clips, BATCH, torch.device("cpu")), most)


def price(layers: list[Layer], target: str) -> Row:
    return compare(Account(1, {BITS: tuple(layers)}, None, ()), load_target(target), BITS)


def try_smaller(given: Candidate, config: Config, data: Data, search: Search) -> list[tuple[float, float, Candidate]]:
    """Accuracy on validation and energy of all smaller heads."""
    size = data.features.dim // (len(config.clip.streams) if given.source == LATE else 1)
    lags, inputs = len(given.model.get("lags", [1])), given.model.get("inputs", ["features"])
    size *= sum(1 if name == "features" else lags for name in inputs)
    tried = []
    for candidate in list_smaller(given, size, search):
        accuracy, energy = measure(candidate, config, data, search)
        tried.append((accuracy, energy, candidate))
        words = {
            key: candidate.model.get(key) for key in ("units", "order", "memory_d", "input_threshold", "max_rates")
        }
        print(f"  {candidate.kind} {words}: {100 * accuracy:.2f} %, {energy:.2f} µJ", file=sys.stderr, flush=True)
    return tried


def choose(tried: list[tuple[float, float, Candidate]], least: float) -> Candidate:
    """The cheapest one whose validation is not below ``least``; of none that reaches it, the best."""
    enough = [one for one in tried if one[0] >= least]
    if enough:
        return min(enough, key=lambda one: one[1])[2]
    return max(tried, key=lambda one: one[0])[2]


def quantize(model: TemporalModel, bits: int) -> TemporalModel:
    """A copy whose matrices are rounded to ``bits``; ``mean_pool`` has none."""
    model = copy.deepcopy(model)
    if has_matrices(model):
        round_matrices(model, bits)
    return model


def test(candidate: Candidate, config: Config, data: Data, seeds: int) -> Found:
    """Train on all training videos and test, for each seed."""
    found = Found()
    for seed in range(seeds):
        seeded = make_config({**json.loads(config.to_json()), "seed": seed})
        right: dict[int, float] = {}
        few: dict[int, list[bool]] = {8: [], 4: []}
        rows: dict[str, list[Row]] = {target: [] for target in TARGETS}
        for fold in data.catalog.folds:
            validation = Validation(seeded, data, [Fold(fold.name, fold.learned, fold.test)])
            for score in validation.test(candidate):
                right.update(zip(score.videos.tolist(), score.right.tolist(), strict=True))
            layers = count(validation, math.ceil(CLIPS / len(data.catalog.folds)))
            assert validation.model is not None
            for bits in few:
                clips, batch = validation._seen.clips_of(fold.test), config.evaluation.batch_size
                model = quantize(validation.model, bits)
                tested = average_clips(predict_clips(model, validation._seen, clips, batch, torch.device("cpu")))
                few[bits] += tested.correct.tolist()
            for target in TARGETS:
                rows[target].append(price(layers, target))
            found.layers.append(layers)
        found.right.append(np.array([right[video] for video in sorted(right)], float))
        for bits, each in few.items():
            found.quantized[bits].append(float(np.mean(each)))
        for target in TARGETS:
            found.rows.setdefault(target, []).extend(rows[target])
    return found


def format_row(label: str, found: Found, lmu: Found) -> list[str]:
    """A line of the table, beside the LMU as it comes; what is counted is a mean over seeds and folds."""

    def mean(values: list[float]) -> float:
        return statistics.mean(values)

    first, second = (mean([row.head or 0.0 for row in found.rows[target]]) for target in TARGETS)
    reference = mean([row.head or 0.0 for row in lmu.rows[TARGETS[0]]])
    done = mean([total(each, "effective_macs") + total(each, "effective_acs") for each in found.layers])
    updates = mean([total(each, "neuron_updates") + total(each, "state_updates") for each in found.layers])
    moved = [mean(list(kind)) for kind in zip(*map(find_bytes, found.layers), strict=True)]
    rates = [row.rate for row in found.rows[TARGETS[0]] if row.rate is not None]
    crossings = [row.crossover for row in found.rows[TARGETS[0]] if row.rate is not None]
    crossing = (
        "-"
        if not rates
        else "never"
        if None in crossings
        else f"{mean([one for one in crossings if one is not None]):.3f}"
    )
    return [
        label,
        show(found.accuracy),
        "" if found is lmu else compare_right(found.right, lmu.right),
        *(show(found.quantized[bits]) for bits in (8, 4)),
        f"{mean(rates):.3f}" if rates else "-",
        f"{done / 1e6:.3g}",
        f"{updates / 1e6:.3g}",
        " / ".join(f"{size / 1e6:.3g}" for size in moved),
        f"{first:.3g}",
        f"{first / reference:.3g}",
        f"{second:.3g}",
        crossing,
    ]


def find_bytes(layers: list[Layer]) -> tuple[float, float, float]:
    """Bytes of weights, activations and states that are read and written at all levels of the first target."""
    levels = sum_levels(estimate(layers, load_target(TARGETS[0]), BITS).layers)
    whole = sum(levels.values(), Bytes())
    activations = whole.activations_read + whole.activations_written
    return whole.weights_read, activations, whole.states_read + whole.states_written


def test_set(name: str, config: Config, search: Search, seeds: int, trained: int) -> list[list[str]]:
    """The rows of one set."""
    data = pipeline.load_data(config)
    lmu, spiking = (read_head(config, kind) for kind in ("lmu", "spiking_lmu"))
    plain = Candidate({"type": "mean_pool"}, lmu.source if lmu.source == GIVEN else JOINED)
    heads = {"mean_pool": plain, "lmu": lmu, "spiking_lmu": spiking}
    for label, head in (("lmu", lmu), ("spiking_lmu", spiking)):
        if head.training.get("epochs"):
            heads[f"{label}, untrained"] = Candidate(head.model, head.source, UNTRAINED)
    accuracy, energy = measure(heads.get("lmu, untrained", lmu), config, data, search)
    print(f"{name}: lmu, validation {100 * accuracy:.2f} %, {energy:.2f} µJ", file=sys.stderr, flush=True)
    for label, head in (("lmu", lmu), ("spiking_lmu", spiking)):
        tried = try_smaller(head, config, data, search)
        whole = [one for one in tried if one[2].model.get("input_threshold") is None]
        for sent, some in (("", whole), (", changes", tried))[: 1 if whole == tried else 2]:
            for loss in LOSSES:
                chosen = choose(some, accuracy - loss / 100)
                words = f"{chosen.model['units']} units, order {chosen.model['order']}"
                if chosen.model["encoders"] == "selected":
                    words += f", {chosen.model['memory_d']} inputs selected"
                words += f", {chosen.model['max_rates'][0]:.0f} spikes/s" if head is spiking else ""
                threshold = chosen.model.get("input_threshold")
                words += "" if threshold is None else f", changes of {threshold:g}"
                heads[f"{label}, frugal{sent} at {loss:g} ({words})"] = chosen
    found: dict[str, Found] = {}
    for label, head in heads.items():
        same = [label for label, other in heads.items() if label in found and other == head]
        runs = min(seeds, trained) if head.training.get("epochs") else seeds
        if same:
            found[label] = found[same[0]]
        else:
            found[label] = keep_result(
                search.keep, partial(test, head, config, data, runs), head, config.to_json(), runs, "test"
            )
        print(name, label, show(found[label].accuracy), file=sys.stderr, flush=True)
    return [format_row(label, each, found["lmu"]) for label, each in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trained-seeds", type=int, default=2, help="of heads that are trained by gradients")
    parser.add_argument("--inner", type=int, default=4, help="inner folds")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.5, 1, 2, 4], help="units by input")
    parser.add_argument("--encoders", nargs="+", choices=["on_off", "selected"], default=["on_off", "selected"])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0, 0.5, 1], help="of changes; 0: all is sent")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what is measured there, and go on from it")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    search = Search(arguments.inner, arguments.widths, arguments.thresholds, arguments.encoders, arguments.keep)
    for text in arguments.sets:
        name, _, path = text.partition("=")
        config = load_config(path, arguments.override)
        table = test_set(name, config, search, arguments.seeds, arguments.trained_seeds)
        write_section(
            f"Accuracy and estimated energy of heads: {name}",
            f"One clip, the temporal model alone, {say_seeds(config, arguments.seeds, arguments.trained_seeds)}; video "
            "accuracy over all test videos. A head that draws nothing at random is the same with each seed (± 0.0). "
            "*To lmu*: the difference to `lmu` over the same videos, with its 95 % interval (bootstrap over videos). "
            f"*Energy*: an estimate, not a measurement, memory counted, of weights and activations of {BITS} bits; "
            "how, and how far to trust it, is said in [Energy](explanation/energy.md). *Untrained*: the head of "
            "`configs/` without its training by gradients; its readout is solved, its other weights are as they were "
            "made, nearly all of them zero. *Frugal*: the cheapest of a list of smaller ones whose validation is at "
            f"most so many points below that of the LMU (untrained), in {search.inner} inner folds: units "
            f"{show_list(search.widths)} times the inputs, order 1 or 2, encoders {' or '.join(search.encoders)}, "
            f"spikes at up to {show_list(list(RATES))} a second. *With 8 bits, with 4 bits*: accuracy with matrices "
            "rounded to so many bits, nothing trained after it. Energy is counted on the one of 8 bits, spikes are the "
            f"mean over all test clips and other counts over {CLIPS} of them or, of several folds, a few more. "
            "*Changes*: chosen from a list that also has heads whose input and memory are sent as changes, from the "
            f"size that is named on (of {show_list([one for one in search.thresholds if one])}). *Effective*: "
            "multiplications and accumulates whose input and weight are not zero. *Bytes*: read and written at all "
            f"levels of memory of {TARGETS[0]}. *Crossover*: spikes a neuron and step below which the head needs less "
            "than the same head with numbers in the place of spikes; 1: at any rate.",
            make_table(HEADER, table),
        )


def say_seeds(config: Config, seeds: int, trained: int) -> str:
    """How many seeds the rows have: fewer where a head is trained by gradients, if any is."""
    some = trained < seeds and any(read_head(config, kind).training.get("epochs") for kind in ("lmu", "spiking_lmu"))
    return f"{seeds} seeds" + (f", of heads that are trained by gradients {trained}" if some else "")


def show_list(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"


if __name__ == "__main__":
    main()
