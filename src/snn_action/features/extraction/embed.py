"""Resized frames through the backbone, and one video or an array of frames on its own."""

import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_action.backbones import Backbone, infer
from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.features.extraction.decoding import decode_parts
from snn_action.video.clips import VideoClips, read_part, read_source, read_video
from snn_action.video.decode import FrameSource
from snn_action.video.settings import Stream
from snn_action.video.transforms import normalise


def prepare(backbone: Backbone, config: Config, device: torch.device | str) -> None:
    """Move the backbone to the device, channels last, and try whether it takes images of ``clip.size``.

    Raises:
        ConfigError: it does not.
    """
    backbone.eval().to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = config.clip.size
    if size is not None and size != backbone.input_size:
        try:
            infer(backbone, torch.zeros(1, 3, size, size, device=device), config.backbone.precision)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ConfigError(
                f"clip.size: {backbone.name} cannot take images of side {size} ({error}); leave it out for "
                f"{backbone.input_size}"
            ) from None


def embed(backbone: Backbone, frames: Tensor, batch_size: int, precision: str, device: torch.device | str) -> Tensor:
    """Features ``(n, D)`` float32 on the CPU of resized ``frames`` (n, 3, S, S) uint8, in chunks of nearly equal size.

    Raises:
        WorkError: a feature is not finite.
    """
    chunks = frames.tensor_split(math.ceil(len(frames) / batch_size))
    features = torch.cat(
        [infer(backbone, normalise(c.to(device), backbone.mean, backbone.std), precision).cpu() for c in chunks]
    )
    if not bool(features.isfinite().all()):
        raise WorkError(
            f"backbone {backbone.name!r} gave features that are not finite: are its weights whole (backbone.weights), "
            "is the precision too low (backbone.precision)?"
        )
    return features


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
    found: dict[Stream, list[Tensor]] = {stream: [] for stream in clips.streams}
    for part in parts:
        for stream, images in part.items():
            found[stream].append(embed(backbone, images, settings.batch_size, settings.precision, device))
    rows = np.concatenate(clips.clips)
    return {stream: torch.cat(embedded)[rows] for stream, embedded in found.items()}


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
