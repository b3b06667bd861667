"""What a configuration needs of the store: the content of each video of its catalog, and a key for each stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core.progress import track
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction.first_look import check_share, look_first
from snn_action.features.keys import digest_videos, feature_key, find_new, read_states
from snn_action.features.store.store import FeatureStore
from snn_action.video.frame_augmentation import FrameDraw
from snn_action.video.settings import Stream
from snn_action.video.transforms import TRANSFORM_VERSION


def digest_catalog(
    catalog: Catalog, folder: Path, index: Path | None = None, progress: bool = False
) -> list[str | OSError]:
    """The digest of each video's content, or why it cannot be read; the store in ``folder`` keeps those it has seen.

    Raises:
        ValueError: the features of this catalog came with it.
    """
    paths = []
    for video in catalog.videos:
        if video.path is None:
            raise ValueError(f"{video.name} has no path: the features of this catalog came with it")
        paths.append(video.path)
    store = FeatureStore(folder, index)
    try:
        with track("Reading videos", len(paths), progress) as tick:
            return digest_videos(paths, store.database, tick)
    finally:
        store.close()


@dataclass(frozen=True)
class Contents:
    """What is known of the videos of a catalog before they are extracted.

    Attributes:
        digests: Of each video's content, or why it cannot be read.
        states: Of each video, before it was digested: whether it is another one now.
        opened: Videos that are new to the store and were opened first.
        bad: Why some of these cannot be used.
    """

    digests: Sequence[str | OSError]
    states: Sequence[str | OSError]
    opened: frozenset[int]
    bad: Mapping[int, str]


def read_contents(catalog: Catalog, config: Config, progress: bool = False) -> Contents:
    """Open the videos that are new to the store, then digest all, which takes longer.

    Raises:
        WorkError: more than ``dataset.max_bad_share`` of the videos do not open.
    """
    settings = config.features
    paths = [video.path for video in catalog.videos if video.path is not None]
    states = read_states(paths)
    store = FeatureStore(settings.store, settings.index)
    try:
        new = find_new(paths, store.database, states) if len(paths) == len(catalog.videos) else []
    finally:
        store.close()
    opened = frozenset(index for index, is_new in enumerate(new) if is_new)
    bad = look_first(catalog, sorted(opened), config, progress)
    check_share(catalog, bad, config.dataset.max_bad_share, "")
    return Contents(digest_catalog(catalog, settings.store, settings.index, progress), states, opened, bad)


def describe_backbone(backbone: Backbone, config: Config) -> dict[str, Any]:
    """What a run keeps of its backbone: its name, the digest of its weights, its own settings, the images it gets."""
    return {
        "name": backbone.name,
        "digest": backbone.digest,
        "size": config.clip.size or backbone.input_size,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "transform": TRANSFORM_VERSION,
        **({"own": list(backbone.fingerprint[4:])} if backbone.fingerprint[4:] else {}),
    }


Draws = Mapping[int, FrameDraw | None]


def find_keys(
    catalog: Catalog,
    config: Config,
    backbone: Backbone,
    digests: Sequence[str | OSError],
    draws: Draws | None = None,
) -> tuple[dict[int, dict[Stream, str]], dict[int, str]]:
    """Keys by video and stream, and why a video cannot be read at all.

    ``digests`` are those of the videos' contents (``digest_catalog``); ``draws`` names the videos that are wanted, and
    how the frames of each are changed; None: all, unchanged.
    """
    size = config.clip.size or backbone.input_size
    keys: dict[int, dict[Stream, str]] = {}
    bad: dict[int, str] = {}
    for index, (video, digest) in enumerate(zip(catalog.videos, digests, strict=True)):
        if draws is not None and index not in draws:
            continue
        if isinstance(digest, OSError):
            bad[index] = f"{digest.filename or video.path}: {digest.strerror}"
            continue
        precision, draw = config.backbone.precision, draws[index] if draws else None
        keys[index] = {
            stream: feature_key(digest, video.name, stream, config.clip, size, config.seed, backbone, precision, draw)
            for stream in config.clip.streams
        }
    return keys, bad
