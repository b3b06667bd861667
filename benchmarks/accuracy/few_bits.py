"""Matrices of 8 and 4 bits: rounded after training, against training that is aware of it (``training.weight_bits``).

    python benchmarks/accuracy/few_bits.py CONFIG[=SEEDS]... [--seeds 3] [--bits 8 4] [--keep FOLDER]

Each configuration is tested as it is, and with a small head of its kind: 256 units, order 1. All variants of a head
have its training, learning rate and epochs, and learn from all training videos; nothing is chosen.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.accuracy.energy import BITS, TARGETS, price, quantize
from benchmarks.lib.counting import count_mean
from benchmarks.lib.kept import keep_result
from benchmarks.lib.paired import compare
from benchmarks.lib.table import SET, make_table, show, write_section
from snn_action.config import Config, load_config, make_config
from snn_action.datasets.catalog import Fold
from snn_action.evaluation import predict_clips
from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.energy.count import mark_rounded
from snn_action.evaluation.energy.layers import total
from snn_action.models import TemporalModel
from snn_action.runs import pipeline
from snn_action.runs.tuning.candidates import GIVEN, Candidate
from snn_action.runs.tuning.validation import Validation

SMALL = {"units": 256, "order": 1}
HEADER = (
    *("head", "seeds", "bits", "not rounded %", "rounded afterwards %", "trained with it %"),
    *("afterwards - not rounded", "trained - not rounded", "trained - afterwards"),
    *("weights not zero: not rounded", "afterwards", "trained", "45nm, µJ: not rounded", "afterwards", "trained"),
)


class Measured(NamedTuple):
    """A model on the test videos: whether each was named rightly (V,), weights that are not zero, energy in µJ."""

    right: list[bool]
    nonzero: float
    energy: float


class Measurements:
    """Trains and tests heads; what is in the folder ``kept`` is not done again."""

    def __init__(self, config: Config, kept: Path | None) -> None:
        self.data = pipeline.load_data(config)
        self.config = config
        self.kept = kept

    def measure(self, model: dict[str, Any], seed: int, bits: int | None, widths: Sequence[int]) -> list[Measured]:
        """A head that is trained with matrices of ``bits``, and then rounded to each of ``widths``."""
        config = make_config({**json.loads(self.config.to_json()), "seed": seed})
        make = partial(self._measure, config, model, bits, widths)
        return keep_result(self.kept, make, config.to_json(), model, bits, tuple(widths))

    def _measure(
        self, config: Config, model: dict[str, Any], bits: int | None, widths: Sequence[int]
    ) -> list[Measured]:
        training = {**json.loads(config.to_json())["training"], "weight_bits": bits}
        fold = self.data.catalog.folds[0]
        validation = Validation(config, self.data, [Fold(fold.name, fold.learned, fold.test)])
        for score in validation.test(Candidate(model, GIVEN, training)):
            said = f"{model['type']} of {model['units']} units, seed {config.seed}, bits {bits}: {score.accuracy:.4f}"
            print(f"{said}, {score.seconds:.0f} s", file=sys.stderr, flush=True)
        assert validation.model is not None
        tested = [self._test(validation, validation.model, bits)]
        return tested + [self._test(validation, quantize(validation.model, width), width) for width in widths]

    def _test(self, validation: Validation, model: TemporalModel, bits: int | None) -> Measured:
        seen, config = validation._seen, self.config
        clips = seen.clips_of(self.data.catalog.folds[0].test)
        predictions = predict_clips(model, seen, clips, config.evaluation.batch_size, torch.device("cpu"))
        tested = average_clips(predictions)
        layers = mark_rounded(count_mean(model, seen, clips, predictions), model, bits)
        right = tested.correct[np.argsort(tested.video)].tolist()
        return Measured(right, total(layers, "nonzero"), price(layers, TARGETS[0]).head or 0.0)


def make_rows(measurements: Measurements, label: str, model: dict[str, Any], seeds: int, widths: list[int]) -> list:
    """Rows of one head."""
    plain = [measurements.measure(model, seed, None, widths) for seed in range(seeds)]
    full = [one[0] for one in plain]
    rows = []
    for place, bits in enumerate(widths):
        after = [one[1 + place] for one in plain]
        aware = [measurements.measure(model, seed, bits, ())[0] for seed in range(seeds)]
        right = [[np.array(one.right, float) for one in each] for each in (full, after, aware)]
        rows.append(
            [
                *(label, str(seeds), str(bits)),
                *(show([float(each.mean()) for each in one]) for one in right),
                *(compare(right[one], right[other]) for one, other in ((1, 0), (2, 0), (2, 1))),
                *(f"{statistics.mean(one.nonzero for one in each):,.0f}" for each in (full, after, aware)),
                *(f"{statistics.mean(one.energy for one in each):.3g}" for each in (full, after, aware)),
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", metavar="CONFIG[=SEEDS]", help="0 seeds: the small head alone")
    parser.add_argument("--seeds", type=int, default=3, help="of small heads, and where none are given")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what is measured there, and go on from it")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    table: list[list[str]] = []
    for text in arguments.configs:
        path, _, seeds = text.partition("=")
        config = load_config(path, arguments.override)
        measurements = Measurements(config, arguments.keep)
        model = json.loads(config.to_json())["model"]
        heads = (
            (f"{model['type']} (256 units, order 1)", {**model, **SMALL}, arguments.seeds),
            (model["type"], model, int(seeds or arguments.seeds)),
        )
        for label, own, number in (head for head in heads if head[2]):
            table += make_rows(measurements, label, own, number, arguments.bits)
    write_section(
        f"Matrices of few bits: {SET}",
        "Video accuracy in percent; differences in points, video by video, averaged over seeds, with their 95 % "
        "interval over videos. *Rounded afterwards*: the trained model's matrices "
        "are rounded. *Trained with it*: `training.weight_bits`, the same training otherwise. Nothing was chosen. "
        f"*45nm*: estimated energy of the temporal model for a clip, activations of {BITS} bits, matrices of the given "
        f"ones, those that are not rounded of {BITS}. Weights that are zero are not stored where that takes less room.",
        make_table(HEADER, table),
    )


if __name__ == "__main__":
    main()
