"""A trained run as a recognizer of new videos."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.evaluation import ClipPredictions
from snn_action.evaluation.calibration import Calibration
from snn_action.evaluation.early_stop import Stop
from snn_action.features import (
    describe_backbone,
    extract_frames,
    extract_until,
    extract_video,
    find_encoder,
    load_backbone,
    prepare,
)
from snn_action.models import TemporalModel, build_model
from snn_action.runs.answer import Prediction, Verdict
from snn_action.runs.calibration import load_calibration
from snn_action.runs.data import check_background
from snn_action.runs.folder import fold_folder
from snn_action.runs.looking import Looking
from snn_action.runs.split_file import read_begun_run
from snn_action.runs.streaming import RunStream, StreamSettings
from snn_action.runs.timing import StepTiming, read_timing
from snn_action.training import load_weights, require_trained, resolve_device
from snn_action.video.array import read_array
from snn_action.video.clips import VideoClips
from snn_action.video.decode import FrameSource
from snn_action.video.live import LiveFrame
from snn_action.video.sources import Source

Frames = npt.NDArray[np.uint8] | Tensor | Sequence[npt.NDArray[np.uint8]]


class LoadedRun:
    """A run's backbone and temporal model, ready to predict (``load_run`` makes it).

    ``calibration`` is the fold's, None where it has none.
    """

    def __init__(
        self,
        config: Config,
        class_names: Sequence[str],
        backbone: Backbone,
        model: TemporalModel,
        device: torch.device,
        calibration: Calibration | None = None,
        timing: StepTiming | None = None,
    ) -> None:
        check_background(config, tuple(class_names))
        self.calibration = calibration
        self.config = config
        self.class_names = tuple(class_names)
        self.backbone = backbone
        self.model = model
        self.device = device
        self.timing = timing

    def stream(
        self,
        source: str | Path | Source | Iterable[npt.NDArray[np.uint8]],
        settings: StreamSettings | None = None,
        stop: threading.Event | None = None,
        on_frame: Callable[[LiveFrame], None] | None = None,
    ) -> RunStream:
        """Recognize actions in a stream, with memory that does not grow: iterate over what this returns, once.

        It gives a ``Moment`` (evidence and latency) for each step, and a ``Segment`` (class, begin, end in seconds,
        confidence) as soon as one is certain.

        Args:
            source: A video file, a folder of frames, an address or camera that FFmpeg opens, ``"-"`` for raw frames on
                standard input; or frames (H, W, 3) uint8 RGB, one after another.
            settings: Which frames are taken, and how the source is read.
            stop: Once it is set, the stream ends as if the source had.
            on_frame: Called with every frame of the source, before what is said of it.

        Raises:
            ConfigError: the source means no video, or several.
        """
        return RunStream(self, source, settings, stop, on_frame)

    def predict(self, video: str | Path | Frames, early_stop: bool = False) -> Prediction:
        """Recognize the action in a video file, in a folder of JPEG frames, or in frames in memory.

        Args:
            video: A path; or frames (T, H, W, 3) uint8 RGB, whose clips are sampled like a file's. Random sampling
                draws by a file's name, frames by the name ``"frames"``.
            early_stop: Look no further at a clip once one class is probable enough (``evaluation.early_stop``): the
                backbone and the model then see fewer steps.

        Raises:
            WorkError: the video cannot be read.
            ConfigError: frames have another shape or type, or the run does not know when to stop.
        """
        is_path = isinstance(video, str | Path)
        name = str(video) if is_path else "frames"
        source = Path(video) if isinstance(video, str | Path) else read_array(video)
        shares, totals, mask, clips = self._say(source, Path(name).name, self._find_stop() if early_stop else None)
        over_time = tuple(clip[real] for clip, real in zip(shares, mask, strict=True))
        averages = self.model.averages_time
        each = [clip[-1].astype(np.float64) if averages else clip.mean(0, dtype=np.float64) for clip in over_time]
        mean = np.mean(each, axis=0)
        frames = tuple(clips.indices[each[: len(said)]] for each, said in zip(clips.clips, over_time, strict=True))
        verdict = None if self.calibration is None else self.judge(shares, totals, mask, mean)
        steps = sum(map(len, clips.clips)) if early_stop else None
        return Prediction(name, self.class_names, mean, over_time, frames, verdict, steps)

    def _say(self, source: Path | FrameSource, name: str, stop: Stop | None) -> tuple[Any, Any, Any, VideoClips]:
        """Softmax (C, T, K), ``logsumexp`` (C, T) and mask (C, T) of a video's clips, and these."""
        parts = self.config, self.backbone, self.device
        if stop is not None:
            looking = Looking(self.model, stop, self.device)
            clips = extract_until(source, name, *parts, looking)
            return *looking.tell(), clips
        extract: Any = extract_video if isinstance(source, Path) else extract_frames
        features, mask, clips = extract(source, name, *parts)
        with torch.inference_mode():
            logits, _ = self.model(features.to(self.device), mask=mask.to(self.device), keep_state=False)
        logits = logits.float()
        return logits.softmax(-1).cpu().numpy(), logits.logsumexp(-1).cpu().numpy(), mask.numpy(), clips

    def _find_stop(self) -> Stop:
        if self.calibration is None or self.calibration.stop is None:
            raise ConfigError(
                "early stop: this run does not know how sure is enough, which is found on held-out training videos: "
                "train with -o evaluation.calibration=true"
            )
        return self.calibration.stop

    def judge(
        self,
        shares: npt.NDArray[np.float32],
        totals: npt.NDArray[np.float32],
        mask: npt.NDArray[np.bool_],
        mean: npt.NDArray[np.float64],
    ) -> Verdict:
        """What the calibration makes of one video.

        Args:
            shares: Softmax at each step of each of its clips (C, T, K).
            totals: ``logsumexp`` of the logits there (C, T).
            mask: Real steps (C, T).
            mean: The video's probabilities (K,).

        Raises:
            ValueError: there is no calibration.
        """
        if self.calibration is None:
            raise ValueError("this run has no calibration")
        one = np.zeros(len(shares), np.int64)
        said = ClipPredictions(shares, mask, one, one, None, self.model.averages_time, totals=totals)
        score, threshold = float(self.calibration.rate(said)[0]), self.calibration.threshold
        probabilities = self.calibration.sharpen(mean)
        is_background = self.class_names[int(mean.argmax())] == self.config.evaluation.background
        return Verdict(probabilities, score, threshold, score > threshold or is_background)

    def predict_each(self, paths: Iterable[str | Path], early_stop: bool = False) -> Iterator[Prediction | WorkError]:
        """``predict`` of each video, or why there is none: one that cannot be used costs the others nothing.

        Raises:
            ConfigError: as ``predict``, before the first video is read.
        """
        if early_stop:
            self._find_stop()
        for path in paths:
            try:
                yield self.predict(path, early_stop)
            except WorkError as error:
                yield error
            except Exception as error:
                yield WorkError(f"{path}: {type(error).__name__}: {error}")


def load_run(
    folder: str | Path, *, fold: str | None = None, device: str | None = None, overrides: Sequence[str] = ()
) -> LoadedRun:
    """Load a trained run, or one packed into a file: ``load_run("save/demo/20260101-120000").predict("video.avi")``.

    Args:
        folder: Of the run; or the file that ``snn-action pack`` wrote.
        fold: Whose model, where the run has several folds; None: the first.
        device: As in the configuration; None: the run's own.
        overrides: Put over the run's configuration, such as ``backbone.weights=elsewhere.pth``; only what does not
            change what the run has learned.

    Raises:
        ConfigError: the folder is not that of a trained run, the run was made from features without a backbone, an
            override changes what was learned, or the backbone's weights are others than the run was trained with.
    """
    folder = Path(folder)
    extra = [] if device is None else [f"device={json.dumps(device)}"]
    if folder.is_file():
        from snn_action.runs.packed_model import load_pack

        if fold is not None:
            raise ConfigError(f"{folder}: a packed model is that of one fold: leave the fold out")
        return load_pack(folder, [*overrides, *extra])
    config, split = read_begun_run(folder, [*overrides, *extra])
    if not split.from_videos:
        raise ConfigError(
            f"{folder}: this run was trained on features that came with its dataset, without a backbone: it cannot "
            "look at videos. Train on videos to predict videos"
        )
    names = [sides.name for sides in split.folds]
    if fold is not None and fold not in names:
        raise ConfigError(f"{folder}: no fold {fold!r}; it has {', '.join(names)}")
    own = fold_folder(folder, fold or names[0], names)
    weights = require_trained(own, folder)
    target = resolve_device(config.device).main
    backbone = load_backbone(config)
    prepare(backbone, config, target)
    split.check_backbone(describe_backbone(backbone, config))
    given = len(config.clip.streams) * backbone.feature_dim
    model = build_model(config.model, given, len(split.class_names), config.seed, find_encoder(backbone))
    load_weights(model, weights)
    calibration = load_calibration(config, own)
    timing = read_timing(folder, config)
    return LoadedRun(config, split.class_names, backbone, model.eval().to(target), target, calibration, timing)
