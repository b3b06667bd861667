"""The keys of the store that a configuration needs: one for each video of its catalog and each stream."""

from snn_action.backbones import Backbone
from snn_action.config import Config, Stream
from snn_action.data.catalog import Catalog
from snn_action.features.database import explain_errors
from snn_action.features.keys import digest_videos, feature_key
from snn_action.features.progress import track
from snn_action.features.store import FeatureStore


def find_keys(
    catalog: Catalog, config: Config, backbone: Backbone, store: FeatureStore, progress: bool
) -> tuple[dict[int, dict[Stream, str]], dict[int, str]]:
    """Keys by video and stream, and why a video cannot be read at all."""
    paths = []
    for video in catalog.videos:
        if video.path is None:
            raise ValueError(f"{video.name} has no path: the features of this catalog came with it")
        paths.append(video.path)
    with explain_errors(store.index), track("Reading videos", len(paths), progress) as tick:
        digests = digest_videos(paths, store.database, tick)
    size = config.clip.size or backbone.input_size
    keys: dict[int, dict[Stream, str]] = {}
    bad: dict[int, str] = {}
    for index, (video, digest) in enumerate(zip(catalog.videos, digests, strict=True)):
        if isinstance(digest, OSError):
            bad[index] = f"{video.path}: {digest.strerror}"
            continue
        keys[index] = {
            stream: feature_key(
                digest, video.name, stream, config.clip, size, config.seed, backbone, config.backbone.precision
            )
            for stream in config.clip.streams
        }
    return keys, bad
