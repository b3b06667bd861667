"""Extraction: the videos of a catalog through the backbone into the store, decoding beside the network.

Only what the store lacks is done. Worker processes decode and resize, the main process runs the network. A batch holds
frames of one video and stream only, so that a video's features do not depend on what else is extracted.
"""

import logging
import time
from dataclasses import dataclass

import torch

from snn_action.backbones import Backbone
from snn_action.config import Config, Stream
from snn_action.data.catalog import Catalog
from snn_action.errors import WorkError
from snn_action.features.assembly import assemble
from snn_action.features.database import explain_errors
from snn_action.features.decoding import Job, decode_ahead
from snn_action.features.embed import embed_clips, prepare
from snn_action.features.feature_set import FeatureSet
from snn_action.features.keys import digest_videos, feature_key
from snn_action.features.progress import track
from snn_action.features.store import FeatureStore, Rows
from snn_action.memory import keep_freed_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What an extraction gave.

    Attributes:
        features: The clips of all readable videos, in the order of the catalog, memory-mapped.
        bad: Why a video is left out, by its index in the catalog.
        seconds: Time it took.
        frames: Images that went through the network.
        n_extracted: Videos that were decoded now.
        n_reused: Videos that were in the store.
    """

    features: FeatureSet
    bad: dict[int, str]
    seconds: float
    frames: int
    n_extracted: int
    n_reused: int


def extract_features(
    catalog: Catalog, config: Config, backbone: Backbone, device: torch.device | str, progress: bool = True
) -> Extraction:
    """Features of all clips of a catalog of videos, from the store where it has them.

    Killed at any moment, it loses at most the last ``features.shard_videos`` videos and goes on from there. Videos that
    cannot be read are left out and named in a warning.

    Raises:
        ConfigError: the backbone cannot take images of ``clip.size``.
        WorkError: more than ``dataset.max_bad_share`` of the videos cannot be read, or the store cannot be written.
    """
    begin = time.perf_counter()
    prepare(backbone, config, device)
    store = FeatureStore(config.features.store)
    try:
        keys, bad = _find_keys(catalog, config, backbone, store, progress)
        jobs = _find_jobs(catalog, keys, store)
        frames, failed = _run(jobs, config, backbone, device, store, progress)
        for index, streams in keys.items():
            if reasons := [failed[key] for key in streams.values() if key in failed]:
                bad[index] = reasons[0]
        _report(catalog, bad, config.dataset.max_bad_share)
        features = assemble(catalog, {i: streams for i, streams in keys.items() if i not in bad}, store)
    finally:
        store.close()
    extracted = sum(not failed.keys() & set(job.keys.values()) for job in jobs)
    reused = len(catalog.videos) - len(bad) - extracted
    return Extraction(features, bad, time.perf_counter() - begin, frames, extracted, reused)


def _find_keys(
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


def _find_jobs(catalog: Catalog, keys: dict[int, dict[Stream, str]], store: FeatureStore) -> list[Job]:
    """The work that is left; videos of equal content are done once."""
    present: set[str] = set(store.find(key for streams in keys.values() for key in streams.values()))
    jobs = []
    for index, streams in keys.items():
        video = catalog.videos[index]
        missing = {stream: key for stream, key in streams.items() if key not in present}
        if missing and video.path is not None:
            jobs.append(Job(video, video.path, missing))
            present.update(missing.values())
    return jobs


def _run(
    jobs: list[Job],
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
    store: FeatureStore,
    progress: bool,
) -> tuple[int, dict[str, str]]:
    """Do the jobs; return images that went through the network, and why keys failed."""
    waiting: dict[Stream, list[Rows]] = {stream: [] for stream in config.clip.streams}
    failed: dict[str, str] = {}
    n_images = done = 0

    provenance = {"backbone": backbone.name, "digest": backbone.digest, **backbone.provenance}

    def flush() -> None:
        for stream, rows in waiting.items():
            if rows:
                store.write(stream, rows, provenance)
                rows.clear()

    size = config.clip.size or backbone.input_size
    decoded = decode_ahead(jobs, config.clip, size, config.seed, config.features.workers, config.features.limits)
    with keep_freed_memory(), track("Extracting features", len(jobs), progress) as tick:
        for job, clips in zip(jobs, decoded, strict=True):
            if isinstance(clips, str):
                failed.update(dict.fromkeys(job.keys.values(), clips))
            else:
                frames_of_clips = tuple(tuple(clips.indices[clip].tolist()) for clip in clips.clips)
                for stream, key in job.keys.items():
                    features = embed_clips(clips, stream, backbone, config.backbone, device)
                    waiting[stream].append(Rows(key, job.video.name, features, frames_of_clips))
                    n_images += len(clips.indices)
                done += 1
                if done % config.features.shard_videos == 0:
                    flush()
            tick()
        flush()
    return n_images, failed


def _report(catalog: Catalog, bad: dict[int, str], max_share: float) -> None:
    if not bad:
        return
    lines = "\n".join(f"  {catalog.videos[index].name}: {reason}" for index, reason in sorted(bad.items()))
    total = len(catalog.videos)
    summary = f"{len(bad)} of {total} videos cannot be read"
    if len(bad) > max_share * total or len(bad) == total:
        raise WorkError(
            f"{summary}, dataset.max_bad_share allows {max_share:.0%}. Mend or remove them, or raise that share; "
            f"the features of all others are kept:\n{lines}"
        )
    logger.warning("%s and are left out:\n%s", summary, lines)
