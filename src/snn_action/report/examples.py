"""The test clips that a report shows: chosen without regard to the results, kept with the run."""

import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from snn_action.config import Config
from snn_action.core.errors import printable
from snn_action.core.files import write_atomic
from snn_action.datasets.catalog import Catalog, Video
from snn_action.video.decode import FrameSource, open_video, use_video
from snn_action.video.sampling import sample_clips
from snn_action.video.settings import ClipSettings, LimitSettings
from snn_action.video.workers import Failure, map_apart

logger = logging.getLogger(__name__)

THUMBNAIL_HEIGHT = 96
SHOWN_UNITS = 80


@dataclass(frozen=True)
class Shown:
    """A clip to show: its video (index in the catalog), and what the model made of it on real steps.

    Attributes:
        video: Index in the catalog.
        probabilities: Of classes (T, K).
        spikes: Counts of all hidden units (T, N); None where they do not spike.
    """

    video: int
    probabilities: npt.NDArray[np.float32]
    spikes: npt.NDArray[np.int64] | None = None


def choose_videos(catalog: Catalog, tested: Sequence[int], count: int) -> list[int]:
    """Up to ``count`` tested videos, each of another class, in the order of the list.

    Classes that only their course in time tells apart come first, then classes evenly spread.
    """
    by_class: dict[int, int] = {}
    for video in tested:
        by_class.setdefault(catalog.videos[video].label, video)
    paired = [catalog.class_names.index(name) for pair in catalog.pairs for name in pair]
    first = [label for label in paired if label in by_class][:count]
    rest = [label for label in sorted(by_class) if label not in first]
    wanted = min(count - len(first), len(rest))
    spread = [rest[k * len(rest) // wanted] for k in range(wanted)]
    return [by_class[label] for label in (*first, *spread)]


def write_examples(
    path: Path, catalog: Catalog, config: Config, shown: Sequence[Shown], left_out: Sequence[str] = ()
) -> None:
    """Write ``examples.npz``: names, labels, probabilities, frames where the dataset has videos.

    Where hidden units spike, also the spikes of some of them, and how many there are. Frames that cannot be read again
    are left out; this is said, with what is ``left_out`` already, in the log and in the report.
    """
    videos = [catalog.videos[example.video] for example in shown]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "names": np.array([video.name for video in videos], dtype=np.str_),
        "labels": np.array([video.label for video in videos], dtype=np.int64),
        "class_names": np.array(catalog.class_names, dtype=np.str_),
    }
    for place, example in enumerate(shown):
        arrays[f"probabilities_{place}"] = example.probabilities
        if example.spikes is not None:
            arrays["hidden_units"] = np.array(example.spikes.shape[1])
            arrays[f"spikes_{place}"] = thin_out(example.spikes)
    seen = [place for place, video in enumerate(videos) if video.path is not None]
    said = list(left_out)
    for place, frames in zip(seen, _look_again([videos[place] for place in seen], config), strict=True):
        if isinstance(frames, Failure):
            said.append(say_left_out(f"frames of {videos[place].name}", frames.reason))
        else:
            arrays[f"frames_{place}"] = frames
    arrays["left_out"] = np.array(said, dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def say_left_out(what: str, why: object) -> str:
    """Log that something is not shown in the report, and give the words for the report itself."""
    reason = why if isinstance(why, str) else f"{type(why).__name__}: {why}"
    words = printable(f"{what} cannot be shown: {reason}")
    logger.warning("left out of the report: %s", words)
    return words


def _look_again(videos: Sequence[Video], config: Config) -> Iterable[npt.NDArray[np.uint8] | Failure]:
    """Small frames of the first clip of each video, or why there are none; limits are those of the extraction."""
    limits = config.features.limits
    work = partial(_make_thumbnails, clip=config.clip, seed=config.seed, limits=limits)
    return map_apart(work, videos, 1, limits.timeout) if videos else ()


def _make_thumbnails(video: Video, clip: ClipSettings, seed: int, limits: LimitSettings) -> npt.NDArray[np.uint8]:
    def look(source: FrameSource) -> npt.NDArray[np.uint8]:
        indices = sample_clips(source.n_frames, clip, seed, video.name)[0]
        wanted, places = np.unique(indices, return_inverse=True)
        frames = [shrink(frame[np.newaxis])[0] for frame in source.read(wanted.tolist())]
        return np.stack(frames)[places]

    assert video.path is not None
    return use_video(open_video(video.path, limits), look)


def thin_out(spikes: npt.NDArray[np.int64]) -> npt.NDArray[np.unsignedinteger]:
    """Spikes (T, N) of at most ``SHOWN_UNITS`` units, spread evenly over all, in the smallest type that holds them."""
    count = spikes.shape[1]
    shown = min(count, SHOWN_UNITS)
    chosen = spikes[:, np.arange(shown) * count // shown]
    return chosen.astype(np.min_scalar_type(int(chosen.max())))


def shrink(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Frames ``(T, H, W, 3)`` at most ``THUMBNAIL_HEIGHT`` high, in their own proportions."""
    height, width = frames.shape[1:3]
    factor = min(1.0, THUMBNAIL_HEIGHT / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames])
