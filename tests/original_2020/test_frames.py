import pickle
from pathlib import Path

import pytest

from snn_action.core.errors import ConfigError
from snn_action.original_2020.frames import SeedFramesSettings, build

NAMES = ["Walk", "HandstandPushups", "Ride_Bike"]
TRAIN = ["v_Walk_g02_c01", "v_HandStandPushups_g02_c01", "v_Ride_Bike_g02_c01", "v_Walk_g03_c02"]
TEST = ["v_Walk_g01_c01", "v_HandStandPushups_g01_c01", "v_Ride_Bike_g01_c01"]


def make(folder: Path, train=TRAIN, test=TEST, names=NAMES):
    for side, videos in (("train", train), ("test", test)):
        for video in videos:
            (folder / side / video).mkdir(parents=True)
            (folder / side / video / "frame000001.jpg").write_bytes(b"not looked at yet")
    (folder / "actions.pkl").write_bytes(pickle.dumps(names))
    return SeedFramesSettings(path=folder, action_names=folder / "actions.pkl")


def test_folders_give_classes_groups_and_split(tmp_path):
    settings = make(tmp_path)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("no folder")
    catalog = build(settings, 0)
    assert catalog.class_names == ("HandstandPushups", "Ride_Bike", "Walk")
    found = [(video.name, video.label, video.group) for video in catalog.videos]
    assert found == [
        ("train/v_HandStandPushups_g02_c01", 0, "HandstandPushups_g02"),
        ("train/v_Ride_Bike_g02_c01", 1, "Ride_Bike_g02"),
        ("train/v_Walk_g02_c01", 2, "Walk_g02"),
        ("train/v_Walk_g03_c02", 2, "Walk_g03"),
        ("test/v_HandStandPushups_g01_c01", 0, "HandstandPushups_g01"),
        ("test/v_Ride_Bike_g01_c01", 1, "Ride_Bike_g01"),
        ("test/v_Walk_g01_c01", 2, "Walk_g01"),
    ]
    assert catalog.videos[0].path == tmp_path / "train" / "v_HandStandPushups_g02_c01"
    (fold,) = catalog.folds
    assert (fold.train, fold.test) == ((0, 1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": [*TRAIN, "v_Walkk_g02_c01"]}, ["v_Walkk_g02_c01", "'Walkk'", "did you mean 'Walk'"]),
        ({"train": [*TRAIN, "Walk_02"]}, ["Walk_02", "v_<Class>"]),
        ({"train": []}, ["train", "no such folder", "train/ and test/"]),
        ({"test": []}, ["test", "no such folder"]),
        ({"names": ["Walk", "walk"]}, ["actions.pkl", "upper and lower case"]),
        ({"test": ["v_Walk_g01_c01"], "train": ["v_Ride_Bike_g02_c01"]}, ["never trained: Walk"]),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, words):
    settings = make(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        build(settings, 0)
    for word in words:
        assert word in str(caught.value)


def test_an_empty_side_is_named(tmp_path):
    settings = make(tmp_path, test=[])
    (tmp_path / "test").mkdir()
    with pytest.raises(ConfigError, match="test: no folder in it"):
        build(settings, 0)
