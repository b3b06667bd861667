"""What was found on videos that a fold's model did not learn: a temperature, and where "unknown" begins."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from snn_action.core.errors import ConfigError
from snn_action.core.reading import parse_json, read_text, reading
from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.early_stop import Stop, choose_stop
from snn_action.evaluation.predictions import ClipPredictions
from snn_action.evaluation.rejection import SCORES, Score, choose_score, find_threshold, score_videos
from snn_action.evaluation.segment_calibration import SegmentCalibration, SegmentJudge
from snn_action.evaluation.temperature import LEAST, MOST, Floats, apply_temperature, fit_temperature

VERSION = 1
_LONGEST = 2**24  # bytes of a file


@dataclass(frozen=True)
class Calibration:
    """How a fold's probabilities are made honest, and how an unknown action is told.

    Attributes:
        temperature: See ``temperature.py``.
        score: Which score of ``rejection.py`` tells unknown actions.
        known_scores: That score of the held-out videos of known classes, in order.
        known_share: Share of these that is kept.
        videos: Videos that all this was fitted on.
        groups: Their groups.
        own_model: True: the fold's model itself was asked, of its validation videos. False: one more was trained like
            it, without these videos.
        auroc: AUROC of each score for classes that were left out, where models without them were trained.
        stop: When a clip need not be looked at any further (``early_stop``); None: not known.
        segments: What was found on streams; None: nothing, segments of streams are not judged.
    """

    temperature: float
    score: Score
    known_scores: tuple[float, ...]
    known_share: float
    videos: int
    groups: int
    own_model: bool
    auroc: Mapping[Score, float] | None = None
    stop: Stop | None = None
    segments: SegmentCalibration | None = None

    @property
    def threshold(self) -> float:
        """The highest score of a known action; a video that scores higher is unknown."""
        return find_threshold(np.array(self.known_scores), self.known_share)

    def sharpen(self, probabilities: Floats) -> Floats:
        """Probabilities (..., K) after the temperature."""
        return apply_temperature(probabilities, self.temperature)

    def rate(self, predictions: ClipPredictions) -> Floats:
        """The score of each video (V,), in the order of ``average_clips``."""
        return score_videos(predictions, self.score, self.temperature)

    def make_judge(self, class_names: Sequence[str], background: str | None) -> SegmentJudge | None:
        """What tells unknown segments of a stream; None where nothing was found on streams."""
        if self.segments is None:
            return None
        return SegmentJudge(class_names, self.segments, self.score, self.known_share, background)

    def with_share(self, share: float) -> "Calibration":
        """The same with another share of known videos kept."""
        return replace(self, known_share=share)

    @property
    def summary(self) -> dict[str, Any]:
        """All but the scores, for ``metrics.json``."""
        return {
            "temperature": self.temperature,
            "score": self.score,
            "threshold": self.threshold,
            "known_share": self.known_share,
            "videos": self.videos,
            "groups": self.groups,
            "own_model": self.own_model,
            "auroc": None if self.auroc is None else dict(self.auroc),
            "stop": None if self.stop is None else self.stop.confidence,
            "earliest": None if self.stop is None else self.stop.earliest,
        }

    def to_content(self) -> dict[str, Any]:
        """Plain values, for JSON; ``threshold`` is for readers, it follows from the rest."""
        segments = None if self.segments is None else self.segments.to_content(self.known_share)
        return {"version": VERSION, **self.summary, "known_scores": list(self.known_scores), "segments": segments}

    def to_json(self) -> str:
        """The text of ``calibration.json``."""
        return json.dumps(self.to_content(), indent=1) + "\n"


def calibrate(
    predictions: ClipPredictions,
    share: float,
    groups: int,
    *,
    own_model: bool,
    auroc: Mapping[Score, float] | None = None,
    background: int | None = None,
) -> Calibration:
    """Fit to predictions of videos that the model did not learn.

    Args:
        predictions: With ``totals``.
        share: Of known videos to keep.
        groups: How many there are of these videos.
        own_model: See ``Calibration``.
        auroc: See ``Calibration``; it chooses the score.
        background: Label of a class that itself counts as unknown: its videos set no threshold.
    """
    videos = average_clips(predictions)
    temperature, score = fit_temperature(videos.probabilities, videos.label), choose_score(auroc)
    scores = score_videos(predictions, score, temperature)
    known = videos.label != background
    chosen = np.sort(scores[known] if known.any() else scores)
    stop = choose_stop(predictions)
    fitted = tuple(chosen.tolist()), share, len(videos.label), groups, own_model, auroc, stop
    return Calibration(temperature, score, *fitted)


def parse_calibration(content: Any) -> Calibration:
    """What ``Calibration.to_content`` gave.

    Raises:
        ValueError: it is something else, or of a newer version.
    """
    if not isinstance(content, Mapping):
        raise ValueError("a calibration is a JSON object")
    version: Any = content.get("version")
    if not _is_count(version):
        raise ValueError("it names no version")
    if version > VERSION:
        raise ValueError("it was written by a newer version of snn-action; update it")
    temperature = _parse_temperature(content.get("temperature"))
    score, share = (content.get(key) for key in ("score", "known_share"))
    scores, auroc, stop = content.get("known_scores"), content.get("auroc"), content.get("stop")
    videos, groups, own_model = (content.get(key) for key in ("videos", "groups", "own_model"))
    if score not in SCORES or not (_is_number(share) and 0 < share <= 1):
        raise ValueError("its score or its share of known videos is none")
    known = _parse_scores(scores)
    if auroc is not None and not (isinstance(auroc, Mapping) and all(_is_number(auroc.get(name)) for name in SCORES)):
        raise ValueError("its AUROC is none")
    if not (_is_count(videos) and _is_count(groups) and isinstance(own_model, bool)):
        raise ValueError("what it was fitted on is not said")
    earliest: Any = 1 if content.get("earliest") is None else content["earliest"]  # as in older files
    if stop is not None and not (_is_number(stop) and 0 < stop <= 1 and _is_count(earliest) and earliest >= 1):
        raise ValueError("the confidence to stop at is none, or the step")
    when = None if stop is None else Stop(float(stop), earliest)
    areas = None if auroc is None else {name: float(auroc[name]) for name in SCORES}
    segments = _parse_segments(content.get("segments"))
    return Calibration(temperature, score, known, float(share), videos, groups, own_model, areas, when, segments)


def _parse_segments(content: Any) -> SegmentCalibration | None:
    if content is None:  # a file from before streams were calibrated has none
        return None
    if not isinstance(content, Mapping):
        raise ValueError("what was found on streams is no JSON object")
    try:
        return SegmentCalibration(
            _parse_temperature(content.get("temperature")), _parse_scores(content.get("known_scores"))
        )
    except ValueError as error:
        raise ValueError(f"segments: {error}") from None


def _parse_temperature(value: Any) -> float:
    if not (_is_number(value) and LEAST / 2 <= value <= 2 * MOST):
        raise ValueError(f"the temperature is no number from {LEAST} to {MOST}")
    return float(value)


def _parse_scores(scores: Any) -> tuple[float, ...]:
    if not (isinstance(scores, list) and scores and all(map(_is_number, scores))):
        raise ValueError("its scores are no list of numbers")
    return tuple(sorted(map(float, scores)))


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file; None where there is none.

    Raises:
        ConfigError: it is broken, or of a newer version.
    """
    if not path.exists():
        return None
    with reading(path, "not a calibration", _say_way_out):
        return parse_calibration(parse_json(read_text(path, _LONGEST)))


def _say_way_out(message: str) -> ConfigError:
    return ConfigError(f"{message}; remove it to have it made anew by: snn-action evaluate RUN")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
