import numpy as np
import pytest

from snn_action.core.errors import ConfigError
from snn_action.evaluation.leakage import examine_split


def make_arrays(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.normal(size=(6, 4, 3)).astype(np.float16),
        "labels": np.array([0, 1, 0, 1, 0, 1]),
        "class_names": np.array(["box", "wave"]),
        "video_ids": np.array([f"{'AB'[k % 2]}/v_{'AB'[k % 2]}_g{k // 2:02}_c01.avi" for k in range(6)]),
        "split": np.array(["train"] * 4 + ["test"] * 2),
    }
    arrays |= changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.fixture
def load(tmp_path, make_catalog):
    def load(options=None, **changes):
        path = tmp_path / "features.npz"
        np.savez(path, **make_arrays(**changes))
        return make_catalog("features", path, **(options or {}))

    return load


def test_a_file_of_features(load):
    catalog = load()
    assert catalog.class_names == ("box", "wave")
    assert catalog.folds[0].train == (0, 1, 2, 3)
    assert catalog.folds[0].test == (4, 5)
    assert [video.group for video in catalog.videos] == ["A_g00", "B_g00", "A_g01", "B_g01", "A_g02", "B_g02"]
    assert all(video.path is None for video in catalog.videos)
    assert catalog.arrays.features.dtype == np.float16
    np.testing.assert_array_equal(catalog.arrays.features, make_arrays()["features"])
    assert catalog.arrays.lengths.tolist() == [4] * 6
    assert catalog.arrays.source.endswith("features.npz")


def test_optional_arrays(load):
    catalog = load(lengths=np.array([1, 2, 3, 4, 4, 4], np.uint8), groups=np.array(["x", "x", "y", "y", "z", "z"]))
    assert catalog.arrays.lengths.tolist() == [1, 2, 3, 4, 4, 4]
    assert [video.group for video in catalog.videos] == ["x", "x", "y", "y", "z", "z"]


def test_a_name_that_is_not_ucf101s_leaves_the_others_their_groups(load):
    ids = make_arrays()["video_ids"]
    ids[3] = "some.avi"
    catalog = load(video_ids=ids)
    assert [video.group for video in catalog.videos] == ["A_g00", "B_g00", "A_g01", None, "A_g02", "B_g02"]
    assert "groups: known of 5 of 6 videos" in examine_split(catalog, None).checked


def test_double_precision_is_read_as_single(load):
    assert load(features=np.ones((6, 4, 3))).arrays.features.dtype == np.float32


def test_folds_by_number(load):
    split = np.array([1, 1, 2, 2, 3, 3])
    assert [fold.name for fold in load(split=split).folds] == ["1", "2", "3"]
    assert load({"split": 2}, split=split).folds[0].test == (2, 3)


@pytest.mark.parametrize(
    "split", [np.array(["Train"] * 4 + ["Test"] * 2), np.array([b"train"] * 4 + [b"test"] * 2)], ids=["text", "bytes"]
)
def test_a_split_in_other_spelling_is_one_fold(load, split):
    (fold,) = load(split=split).folds
    assert (fold.train, fold.test) == ((0, 1, 2, 3), (4, 5))


def test_truth_values_are_no_split(load):
    with pytest.raises(ConfigError, match="'False' 4 times"):
        load(split=np.array([False] * 4 + [True] * 2))


def test_padding_is_no_data(load):
    features = make_arrays()["features"].astype(np.float32)
    lengths = np.array([4, 2, 3, 4, 4, 1])
    padded = features.copy()
    padded[1, 2:], padded[2, 3], padded[5, 1] = np.nan, np.inf, np.nan
    found = load(features=padded, lengths=lengths).arrays.features
    assert np.isfinite(found).all()
    for index, length in enumerate(lengths):
        np.testing.assert_array_equal(found[index, :length], features[index, :length])
    assert not found[1, 2:].any()
    padded[2, 2, 0] = np.nan
    with pytest.raises(ConfigError, match="features hold NaN or infinity, first in video 2"):
        load(features=padded, lengths=lengths)


def with_value(value):
    features = make_arrays()["features"].astype(np.float32)
    features[3, 1, 2] = value
    return features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "no array labels; it holds features"),
        ({"features": with_value(np.nan)}, "features hold NaN or infinity, first in video 3"),
        ({"features": with_value(-np.inf)}, "features hold NaN or infinity"),
        ({"features": with_value(0).astype(np.float64) + 1e300}, "features hold NaN or infinity"),
        ({"features": np.ones((6, 12), np.float32)}, r"features have shape \(6, 12\)"),
        ({"features": np.ones((6, 0, 3), np.float32)}, r"features have shape \(6, 0, 3\)"),
        ({"features": np.ones((6, 4, 3), np.int64)}, "features are int64"),
        ({"features": np.array([None] * 6)}, "features is damaged, or holds Python objects"),
        ({"labels": np.array([0, 1, 0])}, r"labels has shape \(3,\), expected \(6,\)"),
        ({"labels": np.array([0, 1, 0, 1, 0, 2])}, "labels go from 0 to 2, expected 0 to 1"),
        ({"labels": np.array([0, 1, 0, 1, 0, -1])}, "labels go from -1 to 1"),
        ({"labels": np.array([0.0, 1, 0, 1, 0, 1])}, "labels are float64, expected integers"),
        ({"class_names": np.array([1, 2])}, "class_names is int64"),
        ({"class_names": np.array(["box", "box"])}, "class_names holds 'box' twice"),
        ({"video_ids": np.array(["a"] * 6)}, "video_ids holds 'a' twice"),
        ({"video_ids": np.array([None] * 6)}, "video_ids is damaged, or holds Python objects"),
        ({"lengths": np.array([0, 2, 3, 4, 4, 4])}, "lengths go from 0 to 4, expected 1 to 4"),
        ({"lengths": np.array([1, 2, 3, 4, 4, 5])}, "lengths go from 1 to 5"),
        ({"backbone_videos": np.array([1])}, "backbone_videos is int64"),
        ({"groups": np.array(["x"] * 5)}, "groups has shape"),
        ({"split": np.array(["train"] * 6)}, "no test videos"),
        ({"split": np.array(["train"] * 5 + ["3"])}, "beside names of folds"),
        ({"labels": np.zeros(6, int)}, "all training videos are of one class"),
    ],
)
def test_files_that_do_not_fit_are_named_with_the_array(load, changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        load(**changes)
    if "training" not in message and "no test" not in message:
        assert "features.npz" in str(error.value)


def test_files_that_cannot_be_read(tmp_path, make_catalog):
    path = tmp_path / "features.npz"
    with pytest.raises(ConfigError, match=r"features\.npz: cannot be read: .*set dataset\.path"):
        make_catalog("features", path)
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(ConfigError, match=r"features\.npz: not an \.npz file"):
        make_catalog("features", path)
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"features\.npz: not an \.npz file"):
        make_catalog("features", path)
    np.savez(path, **make_arrays())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"features\.npz"):
        make_catalog("features", path)
    with (tmp_path / "bare.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ConfigError, match=r"bare\.npz: one bare array"):
        make_catalog("features", tmp_path / "bare.npz")
    with pytest.raises(ConfigError, match="cannot be read"):
        make_catalog("features", tmp_path)


def test_damage_inside_an_array_is_named(tmp_path, make_catalog):
    path = tmp_path / "features.npz"
    np.savez(path, **make_arrays())
    data = bytearray(path.read_bytes())
    start = data.index(make_arrays()["features"].tobytes())
    data[start : start + 8] = b"\x00" * 8
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"features\.npz: features is damaged"):
        make_catalog("features", path)
