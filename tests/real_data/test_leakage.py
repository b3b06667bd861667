"""Near-duplicates among real videos: copies are found, different people before one wall are not."""

import av
import numpy as np
import pytest

from snn_action.config import LimitSettings
from snn_action.data.check import find_all_videos
from snn_action.data.perceptual import hash_video, hash_videos
from snn_action.evaluation.leakage import compare
from snn_action.registry import build, parse

LIMITS = LimitSettings()


@pytest.fixture(scope="module")
def hashes(shared, tmp_path_factory):
    paths = [path for name in ("ucf101_clips", "weizmann") for path in find_all_videos(shared / "data" / name)]
    return dict(zip(paths, hash_videos(paths, tmp_path_factory.mktemp("hashes") / "cache", LIMITS, 2), strict=True))


def test_no_fold_of_weizmann_is_stopped(shared, hashes):
    catalog = build("dataset", parse("dataset", {"type": "weizmann", "path": str(shared / "data" / "weizmann")}), 0)
    videos = [hashes[video.path] for video in catalog.videos]
    alike = [(catalog.videos[a], catalog.videos[b]) for a, b in compare(videos, videos)]
    assert len(alike) >= len(videos)  # each is like itself
    assert all(one.group == other.group for one, other in alike)


COPIES = {
    "another codec": {"codec": "libx264", "options": {"crf": "30"}},
    "half the size": {"scale": 0.5},
    "twice the size": {"scale": 2.0},
    "noise": {"noise": 8.0},
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(hashes, tmp_path, how):
    sources = list(hashes)[::9]
    copies = [copy(path, tmp_path / f"{place}.mp4", **COPIES[how]) for place, path in enumerate(sources)]
    found = set(compare([hashes[path] for path in sources], [hash_video(path, LIMITS) for path in copies]))
    assert found >= {(place, place) for place in range(len(sources))}
    assert all(sources[a].stem.split("_")[0] == sources[b].stem.split("_")[0] for a, b in found)


def copy(source, path, codec="mpeg4", scale=1.0, noise=0.0, options=None):
    rng = np.random.default_rng(0)
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        stream = None
        for frame in given.decode(video=0):
            image = frame.to_ndarray(format="rgb24").astype(np.float32)
            if noise:
                image += rng.normal(0, noise, image.shape)
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), "rgb24")
            width, height = (int(side * scale) // 2 * 2 for side in (frame.width, frame.height))
            if stream is None:
                stream = output.add_stream(codec, rate=25, options=options or {})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.thread_count = 1
                if codec == "mpeg4":
                    stream.bit_rate = 1_000_000
            output.mux(stream.encode(frame.reformat(width, height, "yuv420p")))
        output.mux(stream.encode(None))
    return path
