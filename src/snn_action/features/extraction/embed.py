"""Resized frames through the backbone, and one video or an array of frames on its own."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    return _embed_parts(_decode(path, clips, config, backbone), clips, config, backbone, device)


def _decode(path: Path, clips: VideoClips, config: Config, backbone: Backbone) -> Iterable[dict[Stream, Tensor]]:
    """Images of all parts of a video."""
    size = config.clip.size or backbone.input_size
    return decode_parts(path, clips, config.clip, size, config.features.workers, config.features.limits)


def _embed_parts(
    parts: Iterable[dict[Stream, Tensor]],
    clips: VideoClips,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
) -> dict[Stream, Tensor]:
    windows, rows = find_windows(clips.clips, backbone.window)
    found: dict[Stream, list[Tensor]] = {stream: [] for stream in clips.streams}
    for _, embedded in _embed_windows(parts, windows, config, backbone, device):
        for stream, features in embedded.items():
            found[stream].append(features)
    return {stream: torch.cat(features)[torch.from_numpy(rows)] for stream, features in found.items()}


def _embed_windows(
    parts: Iterable[dict[Stream, Tensor]],
    windows: Indices,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
    together: int | None = None,
    find_wanted: Callable[[Indices], npt.NDArray[np.bool_]] = lambda some: np.ones(len(some), bool),
) -> Iterator[tuple[Indices, dict[Stream, Tensor]]]:
    """Some windows after the others, by their rows, with their features for each stream.

    Args:
        parts: Images, of one part of the video after the other.
        windows: Of ``find_windows``.
        config: Of the run.
        backbone: The network.
        device: Where it is.
        together: Windows at once, at most; None: as many as a part has, or a batch of windows of several images.
        find_wanted: Asked which of the next windows are needed; the others are left out.
    """
    settings = config.backbone
    kept: dict[Stream, Tensor] = {}  # images of earlier parts that later windows hold
    states: dict[Stream, Any] = {}  # of a coded backbone: a stream is all images of the video, one after the other
    done = begin = end = 0  # windows; the first image that is kept, and the one after the last
    for part in parts:
        end += len(next(iter(part.values())))
        now = int(np.searchsorted(windows[:, -1], end))
        needed = int(windows[now:].min(initial=end))
        images = {
            stream: torch.cat([kept[stream], new]) if len(kept.get(stream, ())) else new for stream, new in part.items()
        }
        number = together or (settings.batch_size if backbone.window > 1 else max(1, now - done))
        for first in range(done, now, number):
            some = np.arange(first, min(first + number, now))
            some = some[find_wanted(some)]
            if not len(some):
                continue
            chosen = torch.from_numpy(windows[some] - begin)
            found = {}
            for stream, held in images.items():
                frames = held[chosen[:, 0] if backbone.window == 1 else chosen]
                found[stream], states[stream] = embed_next(
                    backbone, frames, states.get(stream), settings.batch_size, settings.precision, device
                )
            yield some, found
        kept = {stream: held[needed - begin :] for stream, held in images.items()}
        done, begin = now, needed


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
    return _extract(path, name, config, backbone, device)


def extract_frames(
    source: FrameSource, name: str, config: Config, backbone: Backbone, device: torch.device | str
) -> tuple[Tensor, Tensor, VideoClips]:
    """``extract_video`` of frames that are in memory.

    Raises:
        WorkError: a feature is not finite.
    """
    return _extract(source, name, config, backbone, device)


def extract_until(
    source: Path | FrameSource,
    name: str,
    config: Config,
    backbone: Backbone,
    device: torch.device | str,
    look: Callable[[int, Tensor], bool],
) -> VideoClips:
    """``extract_video`` or ``extract_frames`` of no more steps than somebody wants to look at; the clips.

    Args:
        source: A video, or frames in memory.
        name: Matters only to random sampling.
        config: Of the run.
        backbone: The network, prepared.
        device: Where it is.
        look: Gets the number of a clip and features (n, D) of its next step, or the same step several times in a clip
            that holds it so often; says whether it wants more of it.

    Raises:
        WorkError: as these functions.
    """
    clips, parts = _open(source, name, config, backbone)
    windows, rows = find_windows(clips.clips, backbone.window)
    rest = np.split(rows, np.cumsum([len(clip) for clip in clips.clips])[:-1])  # of each clip, what is not looked at
    going = set(range(len(rest)))
    held: dict[int, Tensor] = {}

    def find_wanted(some: Indices) -> npt.NDArray[np.bool_]:
        return np.isin(some, np.concatenate([rest[clip] for clip in going]))

    wanted = find_wanted if backbone.coded is None else lambda some: np.ones(len(some), bool)  # changes from the last
    for some, found in _embed_windows(parts, windows, config, backbone, device, 1, wanted):
        held |= zip(some.tolist(), torch.cat([found[stream] for stream in config.clip.streams], 1), strict=True)
        for clip in sorted(going):
            later = rest[clip] > some[-1]
            ready = int(later.argmax()) if later.any() else len(later)
            if not ready:
                continue
            now, rest[clip] = rest[clip][:ready].tolist(), rest[clip][ready:]
            if not look(clip, torch.stack([held[row] for row in now])) or not len(rest[clip]):
                going.discard(clip)
        if not going:
            break
        still = find_wanted(np.array(list(held)))
        held = {row: features for (row, features), kept in zip(held.items(), still, strict=True) if kept}
    return clips


def _open(
    source: Path | FrameSource, name: str, config: Config, backbone: Backbone
) -> tuple[VideoClips, Iterable[dict[Stream, Tensor]]]:
    """Clips of a video or of frames in memory, and images of all parts."""
    size = config.clip.size or backbone.input_size
    if isinstance(source, Path):
        clips = read_video(source, config.clip, size, config.seed, name, config.features.limits)
        return clips, _decode(source, clips, config, backbone)
    clips = read_source(source, config.clip, size, config.seed, name)
    return clips, chain([clips.streams], (read_part(source, part, config.clip, size) for part in clips.further_parts()))


def _extract(
    source: Path | FrameSource, name: str, config: Config, backbone: Backbone, device: torch.device | str
) -> tuple[Tensor, Tensor, VideoClips]:
    clips, parts = _open(source, name, config, backbone)
    return *_join(_embed_parts(parts, clips, config, backbone, device), clips, config), clips


def _join(embedded: dict[Stream, Tensor], clips: VideoClips, config: Config) -> tuple[Tensor, Tensor]:
    """Features (C, T, D) of a video's clips, all streams side by side, and their mask (C, T)."""
    streams = [embedded[stream] for stream in config.clip.streams]
    lengths = [len(clip) for clip in clips.clips]
    features = torch.nn.utils.rnn.pad_sequence(list(torch.cat(streams, 1).split_with_sizes(lengths)), batch_first=True)
    return features, torch.arange(features.shape[1]) < torch.tensor(lengths).unsqueeze(1)
