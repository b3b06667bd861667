"""Which candidate is chosen, and what is said of all of them. Pure functions of their validation scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.runs.tuning.candidates import Candidate
from snn_action.runs.tuning.spaces import BASELINE, SPIKING

DRAWS = 4000  # of groups, for an interval
LEAST_GROUPS = 5  # with fewer, nothing is called better by more than noise
_LARGEST_LOSS = 28.0  # nats of a probability of 1e-12, the least that is counted


@dataclass(frozen=True)
class Outcome:
    """How a candidate did on validation.

    Attributes:
        candidate: What was tried.
        right: Whether each validated video was recognized (V,), in the order of inner folds.
        folds: Accuracy on each inner fold.
        loss: Mean negative log-likelihood of a video's class.
        seconds: Of training and validation, a fold.
        operations: Of one clip (``evaluation.Operations``).
    """

    candidate: Candidate
    right: npt.NDArray[np.bool_]
    folds: tuple[float, ...]
    loss: float
    seconds: float
    operations: Mapping[str, float]

    @property
    def accuracy(self) -> float:
        """Share of validated videos that were recognized."""
        return float(self.right.mean())

    @property
    def value(self) -> float:
        """What is maximized: accuracy; ties go to the smaller loss."""
        return value_of(self.accuracy, self.loss, len(self.right))


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes:
        chosen: The candidate to use.
        best: The best that was eligible, which is not chosen where it does not beat the baseline.
        baseline: The best baseline.
        gain: ``best`` less ``baseline`` in accuracy, and its 95 % interval over groups.
        needed: What the best of as many equally good candidates gains by chance in 19 of 20 cases.
    """

    chosen: Outcome
    best: Outcome
    baseline: Outcome
    gain: tuple[float, float, float]
    needed: float

    @property
    def beats(self) -> bool:
        """Whether the best is better than the baseline by more than noise, as the best of all candidates."""
        return self.gain[0] > self.needed

    def explain(self) -> str:
        """A sentence for people."""
        gain, low, high = (100 * part for part in self.gain)
        found = f"{gain:+z.1f} points against the best baseline (95 % interval {low:+z.1f} to {high:+z.1f}"
        luck = f"{100 * self.needed:.1f}" if np.isfinite(self.needed) else "not known, too few groups or differences"
        found += f"; luck of the best of all: {luck})"
        if self.beats:
            return f"{found}: better by more than noise."
        if self.chosen is self.baseline:
            return f"Nothing beats the baseline by more than noise: {found}. The baseline is proposed."
        return f"Not better than the baseline by more than noise: {found}. A spiking head was asked for."


def value_of(accuracy: float, loss: float, videos: int) -> float:
    """See ``Outcome.value``: no loss outweighs one video."""
    return accuracy - min(loss / _LARGEST_LOSS, 0.99) / videos


def choose(outcomes: Sequence[Outcome], groups: Sequence[str], *, spiking: bool = False) -> Choice:
    """The best candidate by validation; the best baseline where nothing is better by more than noise.

    Args:
        outcomes: Of all candidates, baselines among them.
        groups: Group of each validated video (V,).
        spiking: Choose a spiking model, whatever the baseline does.

    Raises:
        ValueError: there is no baseline, or nothing else.
    """
    baseline = max((one for one in outcomes if one.candidate.kind == BASELINE), key=lambda one: one.value)
    others = [one for one in outcomes if one.candidate.kind != BASELINE and (is_spiking(one) or not spiking)]
    best = max(others, key=lambda one: one.value)
    gain = compare(best.right, baseline.right, groups)
    needed = find_luck(
        [one.right for one in others],
        next(place for place, one in enumerate(others) if one is best),
        baseline.right,
        groups,
    )
    return Choice(best if gain[0] > needed or spiking else baseline, best, baseline, gain, needed)


def is_spiking(outcome: Outcome) -> bool:
    """Whether the candidate's model is of a type whose units spike."""
    return outcome.candidate.kind in SPIKING


def compare(
    one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], groups: Sequence[str]
) -> tuple[float, float, float]:
    """How much more of the videos ``one`` recognizes (V,), and the 95 % interval where groups are drawn anew.

    The same videos are compared, and whole groups are drawn (bootstrap), as videos of one group err together.
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    difference = np.bincount(place, one.astype(float) - other.astype(float))
    size = np.bincount(place)
    drawn = np.random.default_rng(0).integers(0, len(size), (DRAWS, len(size)))
    shares = difference[drawn].sum(1) / size[drawn].sum(1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(difference.sum() / size.sum()), float(low), float(high)


def find_luck(
    candidates: Sequence[npt.NDArray[np.bool_]], best: int, baseline: npt.NDArray[np.bool_], groups: Sequence[str]
) -> float:
    """The gain over the baseline that candidate ``best`` needs so that luck explains it in 1 of 20 cases only.

    Groups are drawn anew. In each draw the largest change of any candidate's gain is taken, in units of that
    candidate's own standard error: the maximum statistic (Westfall and Young 1993), which holds for the best of all.
    Infinite where there are too few groups to tell.
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    size = np.bincount(place).astype(float)
    if len(size) < LEAST_GROUPS:
        return float("inf")
    gains = np.stack([np.bincount(place, one.astype(float) - baseline.astype(float)) for one in candidates], 1)
    counts = np.random.default_rng(1).multinomial(len(size), np.full(len(size), 1 / len(size)), DRAWS)
    changes = counts @ gains / (counts @ size)[:, None] - gains.sum(0) / size.sum()
    error = changes.std(0)
    told = error > 0  # a candidate that never differs from the baseline cannot be lucky
    if not told[best]:
        return float("inf")
    largest = (changes[:, told] / error[told]).max(1)
    return float(np.percentile(largest, 95) * error[best])


def list_best(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The best of each type of model and source, the best of all first."""
    best: dict[tuple[str, str], Outcome] = {}
    for one in outcomes:
        place = one.candidate.kind, one.candidate.source
        if place not in best or one.value > best[place].value:
            best[place] = one
    return sorted(best.values(), key=lambda one: -one.value)


def make_rows(
    outcomes: Sequence[Outcome], choice: Choice, groups: Sequence[str], streams: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for the best of each type of model and source; shares from 0 to 1, operations of one clip."""
    rows = []
    for one in list_best(outcomes):
        gain, low, high = compare(one.right, choice.baseline.right, groups)
        rows.append(
            {
                "chosen": one is choice.chosen,
                "model": one.candidate.kind,
                "streams": one.candidate.describe(streams),
                "accuracy": one.accuracy,
                "deviation": float(np.std(one.folds, ddof=1)) if len(one.folds) > 1 else 0.0,
                "gain": gain,
                "gain_low": low,
                "gain_high": high,
                "seconds": one.seconds,
                "effective_macs": one.operations.get("effective_macs", 0.0),
                "effective_acs": one.operations.get("effective_acs", 0.0),
            }
        )
    return rows


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for a terminal."""
    cells = [("", "model", "streams", "video %", "sd", "against baseline", "s/fold", "M MACs", "M ACs")]
    for row in rows:
        gain = f"{100 * row['gain']:+z.1f} [{100 * row['gain_low']:+z.1f}, {100 * row['gain_high']:+z.1f}]"
        cells.append(
            (
                "*" if row["chosen"] else "",
                str(row["model"]),
                str(row["streams"]),
                f"{100 * row['accuracy']:.1f}",
                f"{100 * row['deviation']:.1f}",
                gain,
                f"{row['seconds']:.1f}",
                f"{row['effective_macs'] / 1e6:.2f}",
                f"{row['effective_acs'] / 1e6:.2f}",
            )
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
