"""Pickles in the original's form, made of real UCF101 features."""

import json
import pickle

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.original_2020 import pickled_features
from snn_action.original_2020.pickles import write_pickles


@pytest.fixture(scope="module")
def real(shared):
    with np.load(shared / "data" / "ucf101_features" / "ucf101_8classes_split1_vgg16_pca512.npz") as file:
        return {name: file[name] for name in ("features", "labels", "class_names", "split")}


def write_config(folder, names):
    files = ("CNN_weights", "SNN_weights", "action_names", "train_data", "test_data", "train_labels", "test_labels")
    (folder / "action_names").write_bytes(pickle.dumps(names))
    raw = {
        "name": "original",
        "seed": 0,
        "data_path": "unused",
        "use_cuda": True,
        "save_dir": str(folder / "save"),
        "dataloader": {"shuffle": True, "pin_memory": True, "batch_size": 32, "workers": 0, "test_percent_size": 0.15},
        "pickle_locations": {name: str(folder / name) for name in files},
        "SNN": {"minibatch_size": 100},
        "SNN_trainer": {
            "epochs": 2,
            "import_CNN_forward_data": True,
            "get_initial_testing_accuracy": True,
            "do_SNN_training": True,
        },
    }
    (folder / "config.json").write_text(json.dumps(raw))
    return folder / "config.json"


def check(path, real):
    config = load_config(path)
    catalog = config.dataset.build(config.seed)
    train = real["split"] == "train"
    order = np.concatenate([np.flatnonzero(train), np.flatnonzero(~train)])
    np.testing.assert_array_equal(catalog.arrays.features, real["features"][order])
    names = [str(name) for name in real["class_names"]]
    assert list(catalog.class_names) == sorted(names)
    assert [catalog.class_names[video.label] for video in catalog.videos] == [names[k] for k in real["labels"][order]]
    (fold,) = catalog.folds
    assert (len(fold.train), len(fold.test)) == (772, 297)


def test_arrays_as_the_original_writes_them(tmp_path, real):
    names = [str(name) for name in real["class_names"]]
    place = np.argsort(np.argsort(names))  # the original's labels are places in the sorted names
    for side in ("train", "test"):
        chosen = real["split"] == side
        write_pickles(
            tmp_path / f"{side}_data",
            tmp_path / f"{side}_labels",
            real["features"][chosen],
            place[real["labels"][chosen]],
        )
    check(write_config(tmp_path, names), real)


def test_nested_lists(tmp_path, real):
    names = [str(name) for name in real["class_names"]]
    place = np.argsort(np.argsort(names))
    few = {"train": 40, "test": 20}
    for side, number in few.items():
        chosen = np.flatnonzero(real["split"] == side)[:number]
        labels = np.tile(place[real["labels"][chosen]][:, None, None], (1, 25, 1))
        (tmp_path / f"{side}_data").write_bytes(pickle.dumps(real["features"][chosen].tolist()))
        (tmp_path / f"{side}_labels").write_bytes(pickle.dumps(labels.tolist()))
        features, read = pickled_features._read_side(
            tmp_path / f"{side}_data", tmp_path / f"{side}_labels", tmp_path, len(names)
        )
        np.testing.assert_array_equal(features, real["features"][chosen])
        np.testing.assert_array_equal(read, labels[:, 0, 0])
