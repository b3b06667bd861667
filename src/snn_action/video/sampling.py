"""Which frames of a video make a clip.

========  ===================================================================================================
first     frames 0, stride, 2 stride, ...
uniform   the center of each of ``frames`` equal parts of the video
random    one frame drawn from each of ``frames`` equal parts; the draw is fixed by seed and video
segments  ``clips`` clips, each of one frame of each of ``frames`` equal parts: clip j has the center of the j-th of
          ``clips`` equal pieces of each part (temporal segment networks: Wang et al., ECCV 2016)
sliding   clips of frames at distance ``stride`` that begin every ``hop`` frames (null: where the last clip ended)
========  ===================================================================================================

With one clip ``segments`` is ``uniform``. Clips that would be equal are one clip.

A clip is shorter than ``frames`` where the video is; it is padded and masked later, a frame is never repeated.
Sliding clips are all of full length unless the video is shorter than one: where a frame would be left over at the
end, a further clip is moved back so that it ends on the video's last frame.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from snn_action.video.settings import ClipSettings

Indices = npt.NDArray[np.int64]


def sample_clips(n_frames: int, clip: ClipSettings, seed: int, name: str) -> list[Indices]:
    """Frame indices of each clip, strictly increasing, 1 to ``clip.frames`` of them; at least one clip.

    Args:
        n_frames: Frames of the video.
        clip: Sampling, frames, stride and hop.
        seed: Fixes the draw of ``random`` together with ``name``: neither order nor process plays a part.
        name: Name of the video.

    Raises:
        ValueError: the video has no frames.
    """
    if n_frames < 1:
        raise ValueError(f"{name}: a video without frames has no clips")
    if clip.sampling == "first":
        return [np.arange(0, n_frames, clip.stride)[: clip.frames]]
    if clip.sampling == "sliding":
        return _slide(n_frames, clip)
    if n_frames <= clip.frames:
        return [np.arange(n_frames)]
    if clip.sampling in ("uniform", "segments"):
        pieces = clip.clips if clip.sampling == "segments" else 1
        firsts = 2 * pieces * np.arange(clip.frames)  # in halves of a piece
        clips = [(firsts + 2 * piece + 1) * n_frames // (2 * pieces * clip.frames) for piece in range(pieces)]
        return [one for k, one in enumerate(clips) if k == 0 or (one != clips[k - 1]).any()]
    edges = np.arange(clip.frames + 1) * n_frames // clip.frames
    draws = [_draw(f"{seed} {part} {name}", int(width)) for part, width in enumerate(np.diff(edges))]
    return [edges[:-1] + np.array(draws)]


def _slide(n_frames: int, clip: ClipSettings) -> list[Indices]:
    offsets = np.arange(clip.frames) * clip.stride
    latest = n_frames - 1 - int(offsets[-1])  # where the last clip that fits may begin
    if latest <= 0:
        return [offsets[offsets < n_frames]]
    hop = clip.hop or clip.frames * clip.stride
    starts = list(range(0, latest + 1, hop))
    if latest - starts[-1] >= clip.stride:  # less is no loss: such frames are passed over within a clip, too
        starts.append(latest)
    return [start + offsets for start in starts]


def _draw(key: str, width: int) -> int:
    """A number from 0 to ``width - 1`` that the key fixes on every machine and for every version of NumPy."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8], "big") % width
