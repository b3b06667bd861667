"""Resized frames through the backbone, and one video or an array of frames on its own."""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.backbones import Backbone, infer_next
from snn_action.backbones.base import check_size, lay_out
from snn_action.backbones.cut import FrozenPart
from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.features.extraction.decoding import decode_parts
from snn_action.video.clips import VideoClips, read_part, read_source, read_video
from snn_action.video.decode import FrameSource
from snn_action.video.sampling import Indices
from snn_action.video.settings import Stream
from snn_action.video.transforms import normalize


def prepare(backbone: Backbone, config: Config, device: torch.device | str) -> None:
    """Move the backbone to the device, channels last, try whether it takes images of ``clip.size``, start its engine.

    Its keys in the feature store are known only now: an engine may be part of them.

    Raises:
        ConfigError: it does not take them, or the engine cannot run it.
    """
    engine = config.backbone.engine
    if engine == "onnx" and torch.device(device).type != "cpu":
        raise ConfigError(f"backbone.engine: 'onnx' runs on the processor, not on {device}: set it to 'torch'")
    lay_out(backbone.eval(), device)
    size = config.clip.size or backbone.input_size
    if isinstance(backbone, FrozenPart) and backbone.is_empty:
        return
    if backbone.engine is None or backbone.engine.shape[-1] != size:
        check_size(backbone, size, device, config.backbone.precision)
    backbone.use_engine(engine, size)


def embed(backbone: Backbone, frames: Tensor, batch_size: int, precision: str, device: torch.device | str) -> Tensor:
    """``embed_next`` of frames that nothing came before: their features alone."""
    return embed_next(backbone, frames, None, batch_size, precision, device)[0]


def embed_next(
    backbone: Backbone,
    frames: Tensor,
    state: Any,
    batch_size: int,
    precision: str,
    device: torch.device | str,
) -> tuple[Tensor, Any]:
    """Features ``(n, D)`` float32 on the CPU of resized ``frames`` uint8, in chunks of nearly equal size.

    Frames are images ``(n, 3, S, S)``, or windows of them ``(n, W, 3, S, S)`` for a backbone that sees windows. Those
    of a coded backbone follow the ones that left ``state``; the state after them comes second. Where no layer is frozen
    (``backbones.cut``), features are the frames themselves, uint8.

    Raises:
        WorkError: a feature is not finite.
    """
    if isinstance(backbone, FrozenPart) and backbone.is_empty:
        return frames.flatten(1), None
    found = []
    for chunk in frames.tensor_split(math.ceil(len(frames) / batch_size)):
        images = normalize(chunk.to(device), backbone.mean, backbone.std)
        features, state = infer_next(backbone, images, state, precision)
        found.append(features.cpu())
    features = torch.cat(found)
    if not bool(features.isfinite().all()):
        raise WorkError(
            f"backbone {backbone.name!r} gave features that are not finite: are its weights whole (backbone.weights), "
            "is the precision too low (backbone.precision)?"
        )
    return features, state


def embed_clips(
    path: Path,
    clips: VideoClips,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
) -> dict[Stream, Tensor]:
    """Features of all clips of a video, for each stream, one clip after the other (rows, D); each image is seen once.

    Raises:
        VideoError: a further part of a long video cannot be decoded.
        WorkError: a feature is not finite.
    """
    size = config.clip.size or backbone.input_size
    parts = decode_parts(path, clips, config.clip, size, config.features.workers, config.features.limits)
    return _embed_parts(parts, clips, config, backbone, device)


def _embed_parts(
    parts: Iterable[dict[Stream, Tensor]],
    clips: VideoClips,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
) -> dict[Stream, Tensor]:
    settings = config.backbone
    windows, rows = find_windows(clips.clips, backbone.window)
    found: dict[Stream, list[Tensor]] = {stream: [] for stream in clips.streams}
    kept: dict[Stream, Tensor] = {}  # images of earlier parts that later windows hold
    states: dict[Stream, Any] = {}  # of a coded backbone: a stream is all images of the video, one after the other
    done = begin = end = 0  # windows; the first image that is kept, and the one after the last
    for part in parts:
        end += len(next(iter(part.values())))
        now = int(np.searchsorted(windows[:, -1], end))
        needed = int(windows[now:].min(initial=end))
        for stream, images in part.items():
            images = torch.cat([kept[stream], images]) if len(kept.get(stream, ())) else images
            together = settings.batch_size if backbone.window > 1 else max(1, now - done)  # a window is many images
            for first in range(done, now, together):
                chosen = torch.from_numpy(windows[first : min(first + together, now)] - begin)
                frames = images[chosen[:, 0] if backbone.window == 1 else chosen]
                features, states[stream] = embed_next(
                    backbone, frames, states.get(stream), settings.batch_size, settings.precision, device
                )
                found[stream].append(features)
            kept[stream] = images[needed - begin :]
        done, begin = now, needed
    return {stream: torch.cat(embedded)[torch.from_numpy(rows)] for stream, embedded in found.items()}


def find_windows(clips: Sequence[npt.NDArray[np.integer[Any]]], window: int) -> tuple[Indices, Indices]:
    """Every window that a backbone sees (U, window), once, by its last image, and that of each step of all clips (R,).

    The window of a step holds the clip's last ``window`` positions up to it; the clip's first position stands for those
    before the clip.
    """
    places = [np.maximum(np.arange(len(clip))[:, None] + np.arange(1 - window, 1), 0) for clip in clips]
    held = np.concatenate([clip[place] for clip, place in zip(clips, places, strict=True)])
    reverse, rows = np.unique(held[:, ::-1], axis=0, return_inverse=True)  # sorted by the last image first
    return np.ascontiguousarray(reverse[:, ::-1]), rows.reshape(-1)


def extract_video(
    path: Path, name: str, config: Config, backbone: Backbone, device: torch.device | str
) -> tuple[Tensor, Tensor, VideoClips]:
    """Features ``(C, T, D)`` of all clips of one video, their mask ``(C, T)`` and the clips, without the store.

    Call ``prepare`` once before. ``name`` matters only to random sampling.

    Raises:
        WorkError: names the file and why it cannot be read.
    """
    size = config.clip.size or backbone.input_size
    clips = read_video(path, config.clip, size, config.seed, name, config.features.limits)
    return *_join(embed_clips(path, clips, config, backbone, device), clips, config), clips


def extract_frames(
    source: FrameSource, name: str, config: Config, backbone: Backbone, device: torch.device | str
) -> tuple[Tensor, Tensor, VideoClips]:
    """``extract_video`` of frames that are in memory.

    Raises:
        WorkError: a feature is not finite.
    """
    size = config.clip.size or backbone.input_size
    clips = read_source(source, config.clip, size, config.seed, name)
    further = (read_part(source, part, config.clip, size) for part in clips.further_parts())
    return *_join(_embed_parts(chain([clips.streams], further), clips, config, backbone, device), clips, config), clips


def _join(embedded: dict[Stream, Tensor], clips: VideoClips, config: Config) -> tuple[Tensor, Tensor]:
    """Features (C, T, D) of a video's clips, all streams side by side, and their mask (C, T)."""
    streams = [embedded[stream] for stream in config.clip.streams]
    lengths = [len(clip) for clip in clips.clips]
    features = torch.nn.utils.rnn.pad_sequence(list(torch.cat(streams, 1).split_with_sizes(lengths)), batch_first=True)
    return features, torch.arange(features.shape[1]) < torch.tensor(lengths).unsqueeze(1)
