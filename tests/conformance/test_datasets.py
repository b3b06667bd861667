"""What every registered dataset must do, on a small example: the one that its settings' ``make_example`` writes.

Those of this package that the table ``MAKERS`` names have their examples here, so that the package stays small. A new
dataset needs nothing here.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_action.core import registry
from snn_action.core.settings import describe_settings
from snn_action.datasets.catalog import Catalog, DatasetSettings, digest_features, draw_validation

CLASSES, GROUPS = ("Bow", "Run", "Walk"), range(1, 9)
NAMES = [f"v_{name}_g{group:02d}_c{clip:02d}" for name in CLASSES for group in GROUPS for clip in (1, 2)]
TESTED = ("_g01_", "_g02_")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no dataset looks into a video")


def class_of(name: str) -> str:
    return name.split("_")[1]


def is_test(name: str) -> bool:
    return any(group in name for group in TESTED)


def make_synthetic(folder: Path) -> dict[str, Any]:
    return {"path": folder / "made", "groups": 4, "clips_per_group": 1, "frames": 8, "size": 32, "split": "all"}


def make_ucf101(folder: Path) -> dict[str, Any]:
    touch(*(folder / "UCF-101" / class_of(name) / f"{name}.avi" for name in NAMES))
    lists = folder / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{k + 1} {name}\n" for k, name in enumerate(CLASSES)))
    for split in ("01", "02", "03"):
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for name in NAMES:
            line = f"{class_of(name)}/{name}.avi"
            if is_test(name):
                lines["test"].append(line)
            else:
                lines["train"].append(f"{line} {CLASSES.index(class_of(name)) + 1}")
        for side, text in lines.items():
            (lists / f"{side}list{split}.txt").write_text("\n".join(text) + "\n")
    return {"path": folder / "UCF-101", "split": "all"}


def make_hmdb51(folder: Path) -> dict[str, Any]:
    lists = folder / "testTrainMulti_7030_splits"
    lists.mkdir()
    for action in ("run", "wave"):
        names = [f"film{k}_{action}_u_nm_np1_fr_med_0.avi" for k in range(4)]
        touch(*(folder / "hmdb" / action / name for name in names))
        for split in (1, 2, 3):
            text = "".join(f"{name} {1 + (k == split)} \n" for k, name in enumerate(names))
            (lists / f"{action}_test_split{split}.txt").write_text(text)
    return {"path": folder / "hmdb", "split": "all"}


def make_weizmann(folder: Path) -> dict[str, Any]:
    subjects = ("daria", "denis", "eli", "ido")
    touch(*(folder / "data" / action / f"{who}_{action}.avi" for action in ("bend", "run") for who in subjects))
    return {"path": folder / "data"}


def make_folder(folder: Path) -> dict[str, Any]:
    touch(*(folder / "data" / class_of(name) / f"{name}.avi" for name in NAMES))
    return {"path": folder / "data", "group_pattern": r"_(g\d+)", "folds": 3}


def make_csv(folder: Path) -> dict[str, Any]:
    touch(*(folder / f"{name}.avi" for name in NAMES))
    rows = [f"{name}.avi,{class_of(name)},{name[-7:-4]},{'test' if is_test(name) else 'train'}" for name in NAMES]
    (folder / "table.csv").write_text("path,label,group,split\n" + "\n".join(rows) + "\n")
    return {"path": folder / "table.csv"}


def make_features(folder: Path) -> dict[str, Any]:
    np.savez(
        folder / "features.npz",
        features=np.random.default_rng(0).normal(size=(len(NAMES), 6, 5)).astype(np.float16),
        labels=np.array([CLASSES.index(class_of(name)) for name in NAMES]),
        class_names=np.array(CLASSES),
        video_ids=np.array([f"{class_of(name)}/{name}.avi" for name in NAMES]),
        split=np.array(["test" if is_test(name) else "train" for name in NAMES]),
    )
    return {"path": folder / "features.npz"}


def make_seed_frames(folder: Path) -> dict[str, Any]:
    touch(*(folder / ("test" if is_test(name) else "train") / name / "frame000001.jpg" for name in NAMES))
    (folder / "actions.pkl").write_bytes(pickle.dumps(list(CLASSES)))
    return {"path": folder, "action_names": folder / "actions.pkl"}


def make_seed_pickles(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {"action_names": list(CLASSES)}
    for side, count in (("train", 6), ("test", 3)):
        values[f"{side}_data"] = rng.normal(size=(count, 4, 5))
        values[f"{side}_labels"] = np.tile(np.arange(count)[:, None, None] % len(CLASSES), (1, 4, 1))
    for name, value in values.items():
        (folder / name).write_bytes(pickle.dumps(value))
    return {name: folder / name for name in values}


MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    name.removeprefix("make_"): function for name, function in list(globals().items()) if name.startswith("make_")
}


@pytest.fixture(scope="module", params=[name for name, _ in registry.items("dataset")])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DatasetSettings:
    cls, folder = registry.find_settings("dataset", request.param), tmp_path_factory.mktemp(request.param)
    assert issubclass(cls, DatasetSettings)
    options = MAKERS.get(request.param, cls.make_example)(folder)
    if options is None:
        pytest.skip(f"{cls.__name__} has no method 'make_example', which writes a small example to test")
    parsed: DatasetSettings = registry.parse("dataset", {"type": request.param, **options})
    return parsed


@pytest.fixture(scope="module")
def catalog(settings: DatasetSettings) -> Catalog:
    return settings.build(seed=1)


def test_names_are_unique_and_the_same_on_every_machine(catalog: Catalog) -> None:
    names = [video.name for video in catalog.videos]
    assert len(set(names)) == len(names) > 1
    assert all(name and not name.startswith("/") and "\\" not in name for name in names)
    assert not any(str(video.path.parent) in video.name for video in catalog.videos if video.path is not None)


def test_labels_are_places_in_the_class_names_and_every_class_has_videos(catalog: Catalog) -> None:
    assert {video.label for video in catalog.videos} == set(range(len(catalog.class_names)))
    assert len(set(catalog.class_names)) == len(catalog.class_names) >= 2
    assert {name for pair in catalog.pairs for name in pair} <= set(catalog.class_names)


def test_every_video_is_a_path_or_has_features(catalog: Catalog) -> None:
    if catalog.arrays is None:
        assert all(video.path is not None and video.path.exists() for video in catalog.videos)
    else:
        features, lengths = catalog.arrays.features, catalog.arrays.lengths
        assert features.ndim == 3
        assert len(features) == len(lengths) == len(catalog.videos)
        assert bool(((lengths >= 1) & (lengths <= features.shape[1])).all())
        assert all(bool(np.isfinite(clip[:length]).all()) for clip, length in zip(features, lengths, strict=True))
        assert len(digest_features(catalog)) == len(catalog.videos)


def test_folds_have_names_of_their_own_and_two_sides_that_share_nothing(catalog: Catalog) -> None:
    assert len({fold.name for fold in catalog.folds}) == len(catalog.folds) >= 1
    for fold in catalog.folds:
        assert fold.train
        assert fold.test
        for side in (fold.train, fold.test):
            assert len(set(side)) == len(side)
            assert all(0 <= index < len(catalog.videos) for index in side)
        assert not set(fold.train) & set(fold.test)
        assert not fold.validation
        assert not fold.baseline


def test_no_group_is_on_both_sides_but_of_published_lists(catalog: Catalog) -> None:
    for fold in () if catalog.official else catalog.folds:
        train, test = ({catalog.videos[i].group for i in side} - {None} for side in (fold.train, fold.test))
        assert not train & test


def test_validation_takes_whole_groups_and_leaves_every_class(catalog: Catalog) -> None:
    known = all(video.group is not None for video in catalog.videos)
    for fold, before in zip(draw_validation(catalog, 0.3, 0.3, seed=0).folds, catalog.folds, strict=True):
        assert sorted((*fold.train, *fold.validation)) == sorted(before.train)
        assert fold.test == before.test
        groups = [{catalog.videos[i].group for i in side} for side in (fold.train, fold.validation)]
        assert not fold.validation or not groups[0] & groups[1]
        assert known or not fold.validation
        assert {catalog.videos[i].label for i in fold.train} == {catalog.videos[i].label for i in before.train}


def test_the_same_seed_gives_the_same_catalog(settings: DatasetSettings, catalog: Catalog) -> None:
    again = settings.build(seed=1)
    assert (again.class_names, again.videos, again.folds) == (catalog.class_names, catalog.videos, catalog.folds)
    if catalog.arrays is not None:
        assert digest_features(again) == digest_features(catalog)


def test_another_seed_changes_nothing_but_folds(settings: DatasetSettings, catalog: Catalog) -> None:
    other = settings.build(seed=2)
    assert (other.class_names, other.videos) == (catalog.class_names, catalog.videos)


def test_settings_come_back_from_json(settings: DatasetSettings) -> None:
    assert registry.parse("dataset", json.loads(settings.model_dump_json())) == settings


def test_every_key_is_described(settings: DatasetSettings) -> None:
    assert "None." not in describe_settings(type(settings))
