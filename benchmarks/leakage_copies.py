"""What the leakage guard's search for copies finds: real videos, altered in many ways, and pairs of different videos.

    python benchmarks/leakage_copies.py JHMDB WEIZMANN [--half chosen] [--videos 100] [--workers 2]

Videos are drawn from J-HMDB (four of five) and Weizmann. Films of J-HMDB and subjects of Weizmann are cut into halves:
the thresholds of ``snn_action.video.copies`` were chosen on the half ``chosen``; the table is made on the half
``reported``, on which nothing was. Each drawn video is a training video; it is altered, encoded anew, and looked for
among all of them:

found         copies that are told to be copies of the video that they were made from
false alarms  copies that are told to be copies of a video of another film or subject

Below the table all pairs of different videos of the half are compared as they are. The table is printed, and that of
the half ``reported`` is put into docs/explanation/leakage.md.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image
from table import ROOT, make_table, wrap

from snn_action.datasets.check import find_all_videos
from snn_action.video.copies import find_copies
from snn_action.video.decode import open_video
from snn_action.video.perceptual import Fingerprint, fingerprint_video
from snn_action.video.settings import LimitSettings

PAGE, BEGIN, END = ROOT / "docs" / "explanation" / "leakage.md", "<!-- copies: begin -->", "<!-- copies: end -->"
LIMITS = LimitSettings()
SUBJECTS_CHOSEN = 4  # of Weizmann's nine
Frames = list[np.ndarray]


def each(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frames], Frames]:
    """An alteration of every frame."""
    return lambda frames: [function(frame) for frame in frames]


def resize(frame: np.ndarray, width: float, height: float) -> np.ndarray:
    """A frame at so many times its size."""
    size = round(frame.shape[1] * width), round(frame.shape[0] * height)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def crop(frame: np.ndarray, share: float = 0.0, pixels: int = 0) -> np.ndarray:
    """A frame without a border on each side."""
    height, width = frame.shape[:2]
    down, across = pixels or round(height * share), pixels or round(width * share)
    return frame[down : height - down, across : width - across]


def map_levels(frame: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A frame whose gray levels, 0 to 1, are others."""
    return np.clip(255 * function(np.arange(256) / 255), 0, 255).round().astype(np.uint8)[frame]


def pad(frame: np.ndarray, down: float, across: float) -> np.ndarray:
    """A frame between black bars."""
    sides = [(round(frame.shape[0] * down),) * 2, (round(frame.shape[1] * across),) * 2, (0, 0)]
    return np.pad(frame, sides)


def put_logo(frame: np.ndarray) -> np.ndarray:
    """A frame with a white and red box in its upper right corner, a fortieth of its area."""
    side = frame.shape[0] // 8
    frame = frame.copy()
    frame[4 : 4 + side, -4 - 2 * side : -4] = 250
    frame[4 + side // 4 : 4 + side - side // 4, side // 4 - 4 - 2 * side : -4 - side // 4] = (200, 30, 30)
    return frame


def put_into(frame: np.ndarray) -> np.ndarray:
    """A frame as a part of a still picture, at six tenths of its size."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(picture).resize(frame.shape[1::-1], Image.Resampling.BICUBIC)).copy()
    small = resize(frame, 0.6, 0.6)
    whole[10 : 10 + small.shape[0], 10 : 10 + small.shape[1]] = small
    return whole


def add_noise(frames: Frames) -> Frames:
    """Noise of 8 gray levels."""
    rng = np.random.default_rng(0)
    return [np.clip(frame + rng.normal(0, 8, frame.shape), 0, 255).astype(np.uint8) for frame in frames]


def rotate(frame: np.ndarray, degrees: float) -> np.ndarray:
    """A frame turned about its middle."""
    return np.asarray(Image.fromarray(frame).rotate(degrees, Image.Resampling.BICUBIC))


def alter_much(frames: Frames) -> Frames:
    """Several alterations at once."""
    cut = frames[len(frames) // 6 : -(len(frames) // 6)]
    return [map_levels(crop(frame[:, ::-1], 0.05), lambda level: level**1.3) for frame in cut]


ALTERATIONS: dict[str, Callable[[Frames], Frames] | None] = {
    "the same file under another name": None,
    "H.264, constant rate factor 23": list,
    "H.264, constant rate factor 35": list,
    "MPEG-4, 400 kbit/s": list,
    "half the size": each(lambda frame: resize(frame, 0.5, 0.5)),
    "twice the size": each(lambda frame: resize(frame, 2, 2)),
    "squeezed to three quarters of the height": each(lambda frame: resize(frame, 1, 0.75)),
    "mirrored": each(lambda frame: frame[:, ::-1]),
    "reversed in time": lambda frames: frames[::-1],
    "first and last quarter cut off": lambda frames: frames[len(frames) // 4 : -(len(frames) // 4)],
    "a third out of the middle": lambda frames: frames[len(frames) // 3 : -(len(frames) // 3)],
    "every second frame": lambda frames: frames[::2],
    "25 to 30 frames a second": lambda frames: [frames[place * 5 // 6] for place in range(len(frames) * 6 // 5)],
    "8 pixels cropped on each side": each(lambda frame: crop(frame, pixels=8)),
    "5 % cropped on each side": each(lambda frame: crop(frame, 0.05)),
    "10 % cropped on each side": each(lambda frame: crop(frame, 0.1)),
    "20 % cropped on each side": each(lambda frame: crop(frame, 0.2)),
    "bars above and below": each(lambda frame: pad(frame, 1 / 8, 0)),
    "bars left and right": each(lambda frame: pad(frame, 0, 1 / 6)),
    "brightness + 5 %": each(lambda frame: map_levels(frame, lambda level: level + 0.05)),
    "gamma 1.5": each(lambda frame: map_levels(frame, lambda level: level**1.5)),
    "gamma 0.67": each(lambda frame: map_levels(frame, lambda level: level**0.67)),
    "contrast x 0.6": each(lambda frame: map_levels(frame, lambda level: 0.5 + 0.6 * (level - 0.5))),
    "contrast x 0.1": each(lambda frame: map_levels(frame, lambda level: 0.5 + 0.1 * (level - 0.5))),
    "without color": each(lambda frame: np.repeat(frame.mean(2, keepdims=True), 3, 2).astype(np.uint8)),
    "a logo": each(put_logo),
    "noise": add_noise,
    "mirrored, 5 % cropped, gamma 1.3, a third cut off": alter_much,
    "rotated by 2 degrees": each(lambda frame: rotate(frame, 2)),
    "rotated by 5 degrees": each(lambda frame: rotate(frame, 5)),
    "shown in a part of another picture": each(put_into),
}
ENCODERS = {
    "H.264, constant rate factor 35": ("libx264", {"crf": "35", "preset": "superfast"}, None),
    "MPEG-4, 400 kbit/s": ("mpeg4", {}, 400_000),
}


def write(path: Path, frames: Frames, codec: str, options: dict[str, str], bit_rate: int | None) -> None:
    """Encode frames; an odd row or column is left out."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = (side // 2 * 2 for side in frames[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        if bit_rate:
            stream.bit_rate = bit_rate
        for frame in frames:
            image = np.ascontiguousarray(frame[: stream.height, : stream.width])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))


def fingerprint_copies(path: Path) -> list[Fingerprint]:
    """Of a video altered in every way."""
    source = open_video(path, LIMITS)
    frames, found = list(source.read(range(source.n_frames))), []
    with tempfile.TemporaryDirectory() as folder:
        for name, alter in ALTERATIONS.items():
            copy = Path(folder) / ("copy" + (path.suffix if alter is None else ".mp4"))
            if alter is None:
                shutil.copyfile(path, copy)
            else:
                standard = ("libx264", {"crf": "23", "preset": "superfast"}, None)
                write(copy, alter(frames), *ENCODERS.get(name, standard))
            found.append(fingerprint_video(copy, LIMITS))
    return found


def find_film(path: Path) -> str:
    """That a video of J-HMDB was cut from."""
    return path.stem.rsplit(f"_{path.parent.name}_", 1)[0]


def find_subject(path: Path) -> str:
    """Who is seen in a video of Weizmann."""
    return path.stem.partition("_")[0]


def is_film_chosen(film: str) -> bool:
    """Whether a film is of the half on which thresholds were chosen."""
    return int(hashlib.sha256(film.encode()).hexdigest(), 16) % 2 == 0


def find_among(prints: list[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs of different videos that are called copies."""
    return [(one.left, one.right) for one in find_copies(prints, prints, lambda left, right: left >= right)]


def draw(paths: Sequence[Path], count: int) -> list[Path]:
    """Some of the videos, always the same."""
    chosen = np.random.default_rng(0).choice(len(paths), min(count, len(paths)), replace=False)
    return [paths[place] for place in sorted(chosen)]


def main() -> None:
    """Print the table, and write it into the page where it is the reported half's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jhmdb", type=Path)
    parser.add_argument("weizmann", type=Path)
    parser.add_argument("--half", choices=("reported", "chosen"), default="reported")
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    films, videos = (sorted(find_all_videos(folder)) for folder in (arguments.jhmdb, arguments.weizmann))
    chosen = set(sorted({find_subject(path) for path in videos})[:SUBJECTS_CHOSEN])
    wanted = arguments.half == "chosen"
    sets = [
        [path for path in films if is_film_chosen(find_film(path)) == wanted],
        [path for path in videos if (find_subject(path) in chosen) == wanted],
    ]
    number = arguments.videos // 5
    drawn = draw(sets[0], arguments.videos - number) + draw(sets[1], number)
    sources = [*map(find_film, drawn[:-number]), *map(find_subject, drawn[-number:])]
    with ProcessPoolExecutor(arguments.workers) as pool:
        trained = list(pool.map(partial(fingerprint_video, limits=LIMITS), drawn))
        copies = []
        for place, path_copies in enumerate(pool.map(fingerprint_copies, drawn)):
            copies.append(path_copies)
            print(f"{place + 1} of {len(drawn)} videos altered", file=sys.stderr, flush=True)
        real = [list(pool.map(partial(fingerprint_video, limits=LIMITS), paths)) for paths in sets]
        pairs_of_real = pool.map(find_among, real)
        pairs_of_copies = list(pool.map(partial(find_copies, trained), zip(*copies, strict=True)))

    rows = []
    for name, kind in zip(ALTERATIONS, pairs_of_copies, strict=True):
        pairs = [(one.left, one.right) for one in kind]
        found = sum(left == right for left, right in pairs)
        alarms = len({right for left, right in pairs if sources[left] != sources[right]})
        rows.append([name, f"{found} of {len(drawn)}", str(alarms)])
        print(rows[-1], file=sys.stderr, flush=True)
    lines = [make_table(["copy", "found", "false alarms"], rows), ""]
    for title, kind, find, paths, pairs in zip(
        ("J-HMDB", "Weizmann"), ("film", "subject"), (find_film, find_subject), sets, pairs_of_real, strict=True
    ):
        names = [find(path) for path in paths]
        other = [pair for pair in pairs if names[pair[0]] != names[pair[1]]]
        same = sum(names[i] == names[j] for j in range(len(names)) for i in range(j))
        total = len(names) * (len(names) - 1) // 2
        text = (
            f"{title}, {len(paths)} videos as they are: {len(other)} of {total - same:,} pairs of different {kind}s "
            f"are called copies, and {len(pairs) - len(other)} of {same:,} pairs of one {kind}."
        )
        lines.append(wrap(text))
        for left, right in pairs:
            print(paths[left], paths[right], file=sys.stderr)
    text = "\n".join(lines)
    print(text)
    if arguments.half == "reported":
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
