import pickle

import numpy as np
import pytest

from snn_action.core.errors import ConfigError
from snn_action.original_2020.pickled_features import SeedPicklesSettings, build

NAMES = ["Walk", "Jump", "Run"]


def make(folder, **changes):
    """Five files in the original's form, some of them replaced; the settings that name them."""
    rng = np.random.default_rng(0)
    values = {
        "action_names": NAMES,
        "train_data": rng.normal(size=(6, 4, 5)),
        "test_data": rng.normal(size=(3, 4, 5)),
        "train_labels": np.tile(np.array([0, 1, 2, 0, 1, 2])[:, None, None], (1, 4, 1)),
        "test_labels": np.tile(np.array([2, 0, 1])[:, None, None], (1, 4, 1)),
    } | changes
    for name, value in values.items():
        (folder / name).write_bytes(value if isinstance(value, bytes) else pickle.dumps(value))
    return values, SeedPicklesSettings(**{name: folder / name for name in values})


def test_features_labels_and_split(tmp_path):
    values, settings = make(tmp_path)
    catalog = build(settings, 0)
    assert catalog.class_names == ("Jump", "Run", "Walk")  # labels are places in the sorted names
    assert [video.label for video in catalog.videos] == [0, 1, 2, 0, 1, 2, 2, 0, 1]
    assert {video.group for video in catalog.videos} == {None}
    (fold,) = catalog.folds
    assert (fold.train, fold.test) == (tuple(range(6)), (6, 7, 8))
    assert catalog.arrays.features.dtype == np.float32
    np.testing.assert_array_equal(
        catalog.arrays.features,
        np.concatenate([values["train_data"], values["test_data"]]).astype(np.float32),
    )
    assert catalog.arrays.lengths.tolist() == [4] * 9
    assert "held out for validation" in catalog.notes[0]
    assert "inflated" in catalog.leaks[0]


def test_nested_lists_give_the_same(tmp_path):
    values, settings = make(tmp_path)
    arrays = build(settings, 0)
    lists = {name: value.tolist() for name, value in values.items() if name != "action_names"}
    _, settings = make(tmp_path, **lists)
    again = build(settings, 0)
    assert again.videos == arrays.videos
    np.testing.assert_array_equal(again.arrays.features, arrays.arrays.features)


def test_sides_of_unequal_length_are_padded(tmp_path):
    _, settings = make(
        tmp_path,
        test_data=np.ones((3, 2, 5)),
        test_labels=np.tile(np.arange(3)[:, None, None], (1, 2, 1)),
    )
    arrays = build(settings, 0).arrays
    assert arrays.lengths.tolist() == [4] * 6 + [2] * 3
    assert arrays.features.shape == (9, 4, 5)
    assert (arrays.features[6:, :2] == 1).all()
    assert (arrays.features[6:, 2:] == 0).all()


def labels(values, steps=4):
    return np.tile(np.asarray(values)[:, None, None], (1, steps, 1))


def with_one(value):
    features = np.zeros((6, 4, 5))
    features[3, 2, 1] = value
    return features


def changing():
    wrong = labels([0, 1, 2, 0, 1, 2])
    wrong[4, 2] = 0
    return wrong


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("train_data", np.zeros((6, 20)), ["shape", "(6, 20)"]),
        ("train_data", np.zeros((0, 4, 5)), ["shape", "(0, 4, 5)"]),
        ("train_data", with_one(np.nan), ["video 3", "NaN"]),
        ("train_data", with_one(np.inf), ["video 3", "infinite"]),
        ("train_data", with_one(1e300), ["video 3", "infinite"]),
        ("train_data", [[[1.0], [2.0]], [[1.0]]], ["equal lengths"]),
        ("train_data", b"\x80\x04cut off", ["broken"]),
        ("train_data", b"cposix\nsystem\n(S'true'\ntR.", ["posix.system", "refused"]),
        ("test_data", np.zeros((3, 4, 6)), ["6 features", "train_data has 5"]),
        ("train_labels", labels([0, 1, 2, 0, 1]), ["(6, 4, 1)", "(5, 4, 1)"]),
        ("train_labels", labels([0, 1, 2, 0, 1, 2], steps=3), ["(6, 4, 1)", "(6, 3, 1)"]),
        ("train_labels", np.array([0, 1, 2, 0, 1, 2]), ["(6, 4, 1)", "(6,)"]),
        ("train_labels", labels([0, 1, 2, 0, 1, 3]), ["video 5", "label 3", "3 names"]),
        ("train_labels", labels([0, -1, 2, 0, 1, 2]), ["video 1", "label -1"]),
        ("train_labels", labels([0, 0.5, 2, 0, 1, 2]), ["whole numbers"]),
        ("train_labels", labels([0, np.nan, 2, 0, 1, 2]), ["whole numbers"]),
        ("train_labels", changing(), ["video 4", "changes"]),
        ("action_names", ["Walk"], ["two classes"]),
        ("action_names", ["Walk", "Walk"], ["two classes"]),
        ("action_names", {"Walk": 0}, ["EMPTY_DICT", "refused"]),
    ],
)
def test_what_does_not_fit_names_the_file(tmp_path, name, value, words):
    _, settings = make(tmp_path, **{name: value})
    with pytest.raises(ConfigError) as caught:
        build(settings, 0)
    for word in [str(tmp_path / name), *words]:
        assert word in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    _, settings = make(tmp_path)
    settings.test_labels.unlink()
    with pytest.raises(ConfigError, match=r"test_labels: cannot be read"):
        build(settings, 0)


def test_a_tested_class_that_was_never_trained(tmp_path):
    _, settings = make(tmp_path, train_labels=labels([0, 1, 0, 0, 1, 1]))
    with pytest.raises(ConfigError, match="never trained: Walk"):
        build(settings, 0)
