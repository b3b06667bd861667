"""Extraction: the videos of a catalog through the backbone into the store, decoding beside the network.

Only what the store lacks is done, shared with other processes (``sharing``). Worker processes decode and resize, the
main process runs the network. A batch holds frames of one video and stream only, so that a video's features do not
depend on what else is extracted.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.errors import VideoError
from snn_action.core.malloc import keep_freed_memory
from snn_action.core.progress import Tick, track
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction.assembly import assemble
from snn_action.features.extraction.decoding import Job, decode_ahead
from snn_action.features.extraction.embed import embed_clips, prepare
from snn_action.features.extraction.failures import Failures
from snn_action.features.extraction.first_look import check_share, look_first
from snn_action.features.extraction.locks import Locks
from snn_action.features.extraction.needs import Contents, Draws, find_keys, read_contents
from snn_action.features.extraction.sharing import Block, Claim, Sharing, cut_blocks
from snn_action.features.feature_set import FeatureSet
from snn_action.features.store.file_system import network_file_system
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.video.clips import VideoClips
from snn_action.video.settings import Stream

logger = logging.getLogger(__name__)

MANY_IMAGES = 2000  # after which another engine is worth a word


@dataclass(frozen=True)
class Extraction:
    """What an extraction gave.

    Attributes:
        features: The clips of all readable videos, in the order of the catalog, memory-mapped.
        bad: Why a video is left out, by its index in the catalog.
        seconds: Time it took.
        frames: Images that went through the network.
        n_extracted: Videos that this process extracted now.
        n_reused: Videos that were in the store, or that other processes have put there meanwhile.
        store: Folder of the store.
        bytes: Size of all its shards on disk.
    """

    features: FeatureSet
    bad: dict[int, str]
    seconds: float
    frames: int
    n_extracted: int
    n_reused: int
    store: Path
    bytes: int


def extract_features(
    catalog: Catalog,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
    progress: bool = True,
    contents: Contents | None = None,
    draws: Draws | None = None,
) -> Extraction:
    """Features of all clips of a catalog of videos, from the store where it has them.

    Killed at any moment, it loses at most the blocks of ``features.shard_videos`` videos that it was working on, and
    goes on from there. Several processes may do it at the same time, on one store: each ends when everything is there.
    Videos that cannot be read are left out and named in a warning, the same ones in all processes that train together.
    ``contents`` are those of the videos, where they were read already (``read_contents``). ``draws`` names the videos
    that are wanted, and how the frames of each are changed; None: all, unchanged.

    Raises:
        ConfigError: the backbone cannot take images of ``clip.size``.
        WorkError: more than ``dataset.max_bad_share`` of the videos cannot be read, or the store cannot be written.
    """
    begin = time.perf_counter()
    prepare(backbone, config, device)
    contents = read_contents(catalog, config, progress) if contents is None else contents
    store = FeatureStore(config.features.store, config.features.index)
    if config.features.index is None and (network := network_file_system(store.folder)):
        logger.info(
            "%s lies on %s: if its locks do not hold, put the index on a disk of this machine's own (features.index)",
            *(store.folder, network),
        )
    try:
        keys, bad = _find_left(catalog, config, backbone, contents, store, progress, draws)
        blocks = cut_blocks(catalog, keys, contents, config.features.shard_videos, draws)
        done, frames, failed = _run(blocks, config, backbone, device, store, progress)
        failed = distributed.join(failed)  # now all processes that train together are through
        store.refresh()
        present = store.find(failed)  # another process may have been luckier
        for index, streams in keys.items():
            if reasons := [failed[key] for key in streams.values() if key in failed and key not in present]:
                bad[index] = reasons[0]
        reused = len(catalog.videos if draws is None else draws) - len(bad) - done
        bad = distributed.join(bad)  # what one of them cannot use, none does: they must train on the same videos
        kept = "; the features of all others are kept"
        if said := check_share(catalog, bad, config.dataset.max_bad_share, kept):
            logger.warning(said)
        features = assemble(catalog, {i: streams for i, streams in keys.items() if i not in bad}, store)
        size = store.measure()
    finally:
        store.close()
    seconds = time.perf_counter() - begin
    is_plain = config.backbone.engine == "torch" and config.backbone.precision == "32"
    if frames >= MANY_IMAGES and is_plain and torch.device(device).type == "cpu":
        logger.info("On processors networks are often several times as fast with backbone.engine 'onnx' (extra onnx)")
    return Extraction(features, bad, seconds, frames, done, reused, store.folder, size)


def _find_left(
    catalog: Catalog,
    config: Config,
    backbone: Backbone,
    contents: Contents,
    store: FeatureStore,
    progress: bool,
    draws: Draws | None,
) -> tuple[dict[int, dict[Stream, str]], dict[int, str]]:
    """Keys of all videos that open, and why others do not, before anything is extracted.

    Known videos of which the store lacks features are opened here; new ones were opened before they were digested.

    Raises:
        WorkError: more than ``dataset.max_bad_share`` of the videos do not open.
    """
    keys, unread = find_keys(catalog, config, backbone, contents.digests, draws)
    present, opened = store.find([key for streams in keys.values() for key in streams.values()]), contents.opened
    left = {i for i, streams in keys.items() if i not in opened and any(key not in present for key in streams.values())}
    known = {index: why for index, why in contents.bad.items() if draws is None or index in draws}
    bad = {**unread, **known, **look_first(catalog, left, config, progress)}
    check_share(catalog, bad, config.dataset.max_bad_share, "")
    return {index: streams for index, streams in keys.items() if index not in bad}, bad


def _run(
    blocks: Sequence[Block],
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
    store: FeatureStore,
    progress: bool,
) -> tuple[int, int, dict[str, str]]:
    """Do what is left; return videos and images that this process did, and why keys failed."""
    if store.is_read_only:
        locks, failures = None, None  # there is nothing to be shared: what the store lacks cannot be written
    else:
        store.sweep()
        folder = store.folder / "leases"
        locks, failures = Locks(folder), Failures(folder, config.features.limits)
    try:
        sharing = Sharing(blocks, store, locks, failures)
        with keep_freed_memory(), track("Extracting features", sharing.n_left, progress) as tick:
            done = _share(sharing, tick, config, backbone, device, store)
        sharing.clean(blocks)
        return (*done, sharing.failed)
    finally:
        if locks:
            locks.close()


def _share(
    sharing: Sharing, tick: Tick, config: Config, backbone: Backbone, device: torch.device | str, store: FeatureStore
) -> tuple[int, int]:
    """Take blocks until all are done; return videos and images that this process did."""
    n_videos = n_images = 0
    waiting: dict[Stream, list[Rows]] = {stream: [] for stream in config.clip.streams}
    failed: dict[str, str] = {}
    provenance = {"backbone": backbone.name, "digest": backbone.digest, **backbone.provenance}
    size = config.clip.size or backbone.input_size
    workers = min(config.features.workers, sharing.n_left)
    while not sharing.is_done:
        jobs = sharing.take(tick)
        for job, clips in decode_ahead(jobs, config.clip, size, config.seed, workers, config.features.limits):
            features = clips if isinstance(clips, str) else _embed(job, clips, config, backbone, device)
            if isinstance(clips, str) or isinstance(features, str):
                failed.update(dict.fromkeys(job.keys.values(), str(features)))
            else:
                frames_of_clips = tuple(tuple(clips.indices[clip].tolist()) for clip in clips.clips)
                for stream, key in job.keys.items():
                    waiting[stream].append(Rows(key, job.video.name, features[stream], frames_of_clips))
                    n_images += len(clips.indices)
                n_videos += 1
            claim = sharing.claims[0]
            if job is claim.jobs[-1]:
                _write(waiting, claim, store, provenance)
                sharing.finish(failed)
                failed.clear()
            tick()
        sharing.wait(tick)
    return n_videos, n_images


def _embed(
    job: Job, clips: VideoClips, config: Config, backbone: Backbone, device: torch.device | str
) -> dict[Stream, Tensor] | str:
    """Features of a video's clips, or why the rest of a long video cannot be decoded."""
    try:
        return embed_clips(job.path, clips, config, backbone, device)
    except VideoError as error:
        return str(error)


def _write(waiting: dict[Stream, list[Rows]], claim: Claim, store: FeatureStore, provenance: dict[str, Any]) -> None:
    """Write a block's shards, one a stream. After a kill between two of them only the other streams are left."""
    store.refresh()
    there = store.find(claim.block.keys)  # where there are no locks, another process may have done the block
    for stream, rows in waiting.items():
        if new := [row for row in rows if row.key not in there]:
            store.write(stream, new, provenance)
        rows.clear()
