"""``snn-action calibrate-coding``: thresholds of a sigma-delta coded backbone, chosen on training videos."""

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from snn_action.backbones import build_backbone
from snn_action.backbones.base import lay_out
from snn_action.backbones.thresholds import Thresholds, choose_thresholds, count_steps, read_thresholds, require_error
from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.malloc import keep_freed_memory
from snn_action.core.progress import track
from snn_action.datasets.catalog import Catalog, Video
from snn_action.training.device import resolve_device
from snn_action.video.clips import read_video
from snn_action.video.transforms import normalize

IMAGES = 16  # of each clip, from its first one on


def calibrate_coding(
    config: Config, path: Path, *, max_error: float = 0.1, videos: int = 4, progress: bool = False
) -> Thresholds:
    """Choose thresholds on the first clips of some training videos, and write them to ``path``.

    Of several splits, videos are taken that none of them tests.

    Args:
        config: Of a run; its ``backbone.coding`` does not matter here.
        path: The file to write; one of thresholds that is there is replaced.
        max_error: Of the features: see ``Thresholds.error``.
        videos: How many, evenly spread over those that may be used.
        progress: Show a bar.

    Raises:
        ConfigError: every video is tested by some split, there are no videos, the backbone cannot be coded, no
            thresholds keep ``max_error``, or ``path`` is another file.
        WorkError: a video cannot be read, or the file cannot be written.
    """
    if videos < 1:
        raise ConfigError(f"--videos: must be at least 1, not {videos}")
    require_error(max_error)
    _check_target(path)
    catalog: Catalog = config.dataset.build(config.seed)
    usable = _find_usable(catalog)
    chosen = usable[:: max(1, math.ceil(len(usable) / videos))][:videos]
    plain = config.backbone.model_copy(update={"coding": "none", "thresholds": None, "engine": "torch"})
    backbone = build_backbone(plain, config.seed)
    device = resolve_device(config.device).main
    lay_out(backbone, device)
    size = config.clip.size or backbone.input_size
    clips: list[Tensor] = []
    for video in chosen:
        assert video.path is not None
        read = read_video(video.path, config.clip, size, config.seed, video.name, config.features.limits)
        for images in read.streams.values():
            first = torch.from_numpy(read.clips[0][:IMAGES])
            clips.append(normalize(images[first[first < len(images)]].to(device), backbone.mean, backbone.std))
    with keep_freed_memory(), track("Choosing thresholds", count_steps(backbone), progress, "runs") as tick:
        found = choose_thresholds(backbone, clips, max_error, [video.name for video in chosen], tick)
    try:
        found.write(path)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written: {error.strerror}") from None
    return found


def _check_target(path: Path) -> None:
    """Nothing, where a file of thresholds can be written that replaces no file of another kind."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")
    if not os.path.lexists(path):
        return
    try:
        read_thresholds(path)
    except ConfigError:
        raise ConfigError(f"--out {path}: there already, and no file of thresholds; name another") from None


def _find_usable(catalog: Catalog) -> list[Video]:
    """Videos that some split learns from, and that none tests, nor others of their groups."""
    if any(video.path is None for video in catalog.videos):
        raise ConfigError("dataset: thresholds are chosen on videos, and this dataset has features alone")
    tested = {index for fold in catalog.folds for index in fold.test}
    groups = {catalog.videos[index].group for index in tested} - {None}
    learned = sorted({index for fold in catalog.folds for index in fold.learned} - tested)
    usable = [catalog.videos[index] for index in learned if catalog.videos[index].group not in groups]
    if not usable:
        raise ConfigError(
            "dataset: every video is tested by some split (or is of a tested group), so thresholds cannot be chosen on "
            "any: choose them on other videos by -c or -o dataset.path=FOLDER, or on one split by -o dataset.split=N"
        )
    return usable
