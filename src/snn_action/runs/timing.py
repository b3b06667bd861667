"""How far apart in time the steps of a run's training clips lie: a stream takes its frames at that distance."""

import json
import math
import statistics
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn_action.config import Config
from snn_action.core.errors import ConfigError, VideoError
from snn_action.core.files import write_atomic
from snn_action.core.reading import parse_json, read_text, reading
from snn_action.datasets.catalog import Catalog
from snn_action.video.decode import VideoFile, open_video
from snn_action.video.sampling import sample_clips

FILE = "timing.json"
_LOOKED_AT = 32  # videos
_LONGEST = 1e9  # frames or seconds from a step to the next that anybody may say


@dataclass(frozen=True)
class StepTiming:
    """The median distance of a clip's steps: in ``frames`` of the training videos, and in ``seconds`` where known."""

    frames: float
    seconds: float | None = None

    def choose_every(self, rate: float | None) -> int:
        """Which frames of a stream of ``rate`` frames a second to take: every n-th."""
        apart = self.frames if rate is None or self.seconds is None else self.seconds * rate
        return max(1, round(apart))


def measure_timing(catalog: Catalog, config: Config) -> StepTiming | None:
    """The timing of the first fold's training clips, from up to 32 of their videos; None where none can be read."""
    train = [catalog.videos[index] for index in catalog.folds[0].train]
    train = train[:: math.ceil(len(train) / _LOOKED_AT)] if train else []
    frames, seconds = [], []
    for video in train:
        if video.path is None:
            continue
        try:
            source = open_video(video.path, config.features.limits)
        except VideoError:
            continue
        clips = sample_clips(source.n_frames, config.clip, config.seed, video.name)
        steps = np.concatenate([np.diff(clip) for clip in clips])
        apart = float(np.mean(steps)) if len(steps) else 1.0
        frames.append(apart)
        if isinstance(source, VideoFile) and source.n_frames > 1 and source.timeline.seconds > 0:
            seconds.append(apart * source.timeline.seconds / (source.n_frames - 1))
    if not frames:
        return None
    return StepTiming(statistics.median(frames), statistics.median(seconds) if seconds else None)


def write_timing(folder: Path, timing: StepTiming | None) -> None:
    """Write ``timing.json`` into a run's folder; nothing where nothing is known."""
    if timing is not None:
        write_atomic(folder / FILE, json.dumps(asdict(timing)) + "\n")


def read_timing(folder: Path, config: Config) -> StepTiming | None:
    """The timing of a run; of one that was trained before there was a record, what its configuration tells."""
    said = None
    with suppress(ConfigError), reading(folder / FILE):
        said = parse_json(read_text(folder / FILE))
    return parse_timing(said, config)


def parse_timing(said: Any, config: Config) -> StepTiming | None:
    """The timing in a JSON value; where it is none, what the configuration tells."""
    try:
        frames, seconds = float(said["frames"]), said["seconds"]
        if 0 < frames < _LONGEST:
            known = isinstance(seconds, float | int) and 0 < seconds < _LONGEST
            return StepTiming(frames, float(seconds) if known else None)
    except (ValueError, KeyError, TypeError, OverflowError):
        pass
    stride = config.clip.stride
    return StepTiming(float(stride)) if config.clip.sampling in ("first", "sliding") else None
