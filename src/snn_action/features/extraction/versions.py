"""Further features of the training videos: of all their frames, and of changed ones (``training.augment``).

They are extracted and kept like all others; what they show is part of their keys.
"""

import logging
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.progress import LINE
from snn_action.core.settings import suggest
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction.extract import Extraction, extract_features
from snn_action.features.extraction.needs import Contents, Draws
from snn_action.features.feature_set import FeatureSet
from snn_action.video.frame_augmentation import draw_frames

logger = logging.getLogger(__name__)

EVERY_FRAME = {"sampling": "first", "frames": 10**6, "stride": 1, "hop": None}  # put over ``clip``
NO_SIDES = re.compile(r"bright\w*|fright\w*|\w*wright|(?:al|copy|down|forth|out|up)right|cleft|leftovers?")


def extract_versions(
    catalog: Catalog,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
    features: FeatureSet,
    contents: Contents,
    progress: bool = False,
) -> list[Extraction]:
    """Further extractions of the videos that any fold learns from, their features as ``FeatureSet.versions``.

    With ``redraw`` the first holds all frames, unchanged; the others follow ``training.augment.frames``.

    Args:
        catalog: Its folds name readable videos alone.
        config: Of the run.
        backbone: Prepared.
        device: For the backbone.
        features: Of all clips, unchanged.
        contents: Of the videos.
        progress: Show bars.

    Raises:
        WorkError: a video cannot be read any more.
    """
    own, wanted = plan_versions(catalog, config)
    found = []
    for number, chosen in enumerate(wanted, 1):
        logger.info("Versions of training videos: %d of %d", number, len(wanted), extra=LINE)
        done = extract_features(catalog, own, backbone, device, progress, contents, chosen)
        if done.bad:
            raise WorkError(f"{len(done.bad)} videos cannot be read any more: {next(iter(done.bad.values()))}")
        found.append(replace(done, features=_align(done.features, features, whole=config.training.augment.redraw)))
    return found


def plan_versions(catalog: Catalog, config: Config) -> tuple[Config, list[Draws]]:
    """The configuration by which versions are extracted, and for each the videos and how their frames are changed."""
    augment, frames = config.training.augment, config.training.augment.frames
    if config.training.skip:
        return config, []
    learned = sorted({index for fold in catalog.folds for index in fold.learned})
    seed = augment.seed or 0  # not the run's: runs with other seeds share the versions
    wanted: list[Draws] = [dict.fromkeys(learned)] if augment.redraw else []
    for version in range(1, frames.versions + 1):
        draws = {}
        for index in learned:
            video = catalog.videos[index]
            sided = catalog.class_names[video.label] in frames.left_right
            draws[index] = draw_frames(frames, seed, version, video.name, sided)
        wanted.append(draws)
    if augment.redraw:
        config = config.model_copy(update={"clip": config.clip.model_copy(update=EVERY_FRAME)})
    return config, wanted


def _align(version: FeatureSet, features: FeatureSet, whole: bool) -> FeatureSet:
    """A version with the clips of ``features``: each its own, or ``whole`` videos; no rows where there are none."""
    first: dict[int, int] = {}
    for clip, video in enumerate(version.video.tolist()):
        first.setdefault(video, clip)
    seen: Counter[int] = Counter()
    places = np.zeros(len(features), np.int64)
    for clip, video in enumerate(features.video.tolist()):
        places[clip] = first.get(video, 0) + (0 if whole or video not in first else seen[video])
        seen[video] += 1
    known = np.isin(features.video, version.video)
    streams = tuple(replace(s, shard=s.shard[places], offset=s.offset[places]) for s in version.streams)
    length = np.where(known, version.length[places], 0)
    return FeatureSet(features.video, features.label, length, streams)


def check_versions(config: Config, catalog: Catalog) -> None:
    """Check that this dataset has the frames that ``training.augment`` asks for, and none that it must not change.

    Raises:
        ConfigError: it has none, an action is unknown, or one names a side and may be flipped.
    """
    augment = config.training.augment
    frames = augment.frames
    if catalog.arrays is not None and (augment.redraw or frames.versions):
        key, out = ("frames.versions", "0") if frames.versions else ("redraw", "false")
        raise ConfigError(
            f"training.augment.{key}: the features of this dataset came with it, without frames to make others of: set "
            f"it to {out} (speed, jitter, drop, noise and mixup work on features), or train on videos"
        )
    if catalog.arrays is not None and augment.mix_streams:
        raise ConfigError(
            "training.augment.mix_streams: the features of this dataset came with it, as one stream, and there is "
            "nothing to mix: set it to 0"
        )
    for name in frames.left_right:
        if name not in catalog.class_names:
            raise ConfigError(
                f"training.augment.frames.left_right: no class {name!r}; {suggest(name, [*catalog.class_names])}"
            )
    sided = [name for name in catalog.class_names if _names_side(name) and name not in frames.left_right]
    if frames.versions and frames.flip and sided:
        raise ConfigError(
            f"training.augment.frames.flip: left and right matter in {', '.join(map(repr, sided))}: name them in "
            "training.augment.frames.left_right, so that they are not flipped, or set flip to false"
        )


def _names_side(name: str) -> bool:
    """Also in the middle of a word, as in ``turnleft``; but for words that mean something else."""
    words = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
    return any(side in word for word in words if not NO_SIDES.fullmatch(word) for side in ("left", "right"))


def check_windows(config: Config, backbone: Backbone) -> None:
    """Check that the backbone sees one frame at a time, where frames are to be drawn anew.

    Raises:
        ConfigError: it sees windows of a clip, whose features are not those of frames.
    """
    if config.training.augment.redraw and backbone.window > 1:
        raise ConfigError(
            f"training.augment.redraw: {backbone.name} sees windows of {backbone.window} frames of a clip, so that "
            "there are no features of single frames to draw: set it to false"
        )
