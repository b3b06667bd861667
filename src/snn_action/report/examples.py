"""The test clips that a report shows: chosen without regard to the results, kept with the run."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from snn_action.config import ClipSettings
from snn_action.data.catalog import Catalog
from snn_action.data.decode import count_frames, read_frames
from snn_action.data.sampling import sample_clips
from snn_action.files import write_atomic

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


def write_examples(path: Path, catalog: Catalog, clip: ClipSettings, seed: int, shown: Sequence[Shown]) -> None:
    """Write ``examples.npz``: names, labels, probabilities, frames where the dataset has videos.

    Where hidden units spike, also the spikes of some of them, and how many there are.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "names": np.array([catalog.videos[example.video].name for example in shown], dtype=np.str_),
        "labels": np.array([catalog.videos[example.video].label for example in shown], dtype=np.int64),
        "class_names": np.array(catalog.class_names, dtype=np.str_),
    }
    for place, example in enumerate(shown):
        arrays[f"probabilities_{place}"] = example.probabilities
        if example.spikes is not None:
            arrays["hidden_units"] = np.array(example.spikes.shape[1])
            arrays[f"spikes_{place}"] = thin_out(example.spikes)
        video = catalog.videos[example.video]
        if video.path is not None:
            indices = sample_clips(count_frames(video.path), clip, seed, video.name)[0]
            arrays[f"frames_{place}"] = shrink(read_frames(video.path, indices))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


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
