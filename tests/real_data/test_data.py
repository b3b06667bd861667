"""The data room on real videos, lists and features."""

from collections import Counter

import av
import numpy as np
import pytest

from snn_action.core.registry import parse
from snn_action.video.clips import read_video
from snn_action.video.decode import count_frames, read_frames
from snn_action.video.settings import ClipSettings


def make_catalog(type, path, **options):
    return parse("dataset", {"type": type, "path": str(path), **options}).build(0)


def decode_all(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_weizmann(shared):
    catalog = make_catalog("weizmann", shared / "data" / "weizmann")
    assert len(catalog.class_names) == 10
    assert [len(fold.test) for fold in catalog.folds] == [10] * 9
    assert len({video.group for video in catalog.videos}) == 9
    frames = [count_frames(video.path) for video in catalog.videos]
    assert frames == [len(decode_all(video.path)) for video in catalog.videos]


@pytest.mark.parametrize("name", ["v_ApplyEyeMakeup_g01_c01", "v_BaseballPitch_g01_c01"])
def test_ucf101_clips_are_read_as_a_full_decode_reads_them(shared, name):
    path = shared / "data" / "ucf101_clips" / f"{name}.avi"
    expected = decode_all(path)
    assert expected[0].shape == (240, 320, 3)
    assert count_frames(path) == len(expected)
    last = len(expected) - 1
    for indices in ([0], [last], [last, 0], [40, 41, 90, 2], range(28)):
        np.testing.assert_array_equal(read_frames(path, indices), np.stack([expected[i] for i in indices]))


def test_a_real_video_cut_anywhere_is_named_as_truncated(shared, tmp_path):
    data = (shared / "data" / "ucf101_clips" / "v_BaseballPitch_g01_c01.avi").read_bytes()
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "cut.avi").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(RuntimeError, match=r"cut\.avi: truncated: \d+ of 107 frames"):
            count_frames(tmp_path / "cut.avi")


def test_clips_of_a_real_video(shared):
    path = shared / "data" / "ucf101_clips" / "v_BaseballPitch_g01_c01.avi"
    clip = ClipSettings(sampling="sliding", hop=14, streams=("rgb", "difference"))
    result = read_video(path, clip, 112, 0, "v")
    assert [len(positions) for positions in result.clips] == [28] * 7
    assert len(result.indices) == result.n_frames == 107
    assert result.streams["rgb"].float().std() > 20
    assert abs(result.streams["difference"].float().mean() - 128) < 10


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_official_ucf101_lists(shared, tmp_path, split, train, test):
    lists = shared / "data" / "ucfTrainTestlist"
    names = {
        line.split()[0]
        for kind in ("train", "test")
        for line in (lists / f"{kind}list{split:02}.txt").read_text().splitlines()
    }
    for name in names:
        path = tmp_path / name.replace("v_HandStand", "v_Handstand")  # the official names differ in case here
        path.parent.mkdir(exist_ok=True)
        path.touch()
    catalog = make_catalog("ucf101", tmp_path, lists=str(lists), split=split)
    (fold,) = catalog.folds
    assert len(catalog.class_names) == 101
    assert (len(fold.train), len(fold.test)) == (train, test)
    groups = Counter(video.group for video in catalog.videos)
    assert len(groups) == 101 * 25
    assert not {catalog.videos[i].group for i in fold.train} & {catalog.videos[i].group for i in fold.test}


def test_real_ucf101_features(shared):
    path = shared / "data" / "ucf101_features" / "ucf101_8classes_split1_vgg16_pca512.npz"
    catalog = make_catalog("features", path)
    (fold,) = catalog.folds
    assert (len(fold.train), len(fold.test)) == (772, 297)
    assert len(catalog.class_names) == 8
    assert catalog.arrays.features.shape == (1069, 25, 512)
    assert catalog.arrays.features.dtype == np.float16
    assert len({video.group for video in catalog.videos}) == 8 * 25
