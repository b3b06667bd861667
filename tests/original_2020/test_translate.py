import copy
import json

import pytest

from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.original_2020.translate import matches, translate

ORIGINAL = {
    "name": "action_recognition",
    "seed": 0,
    "data_path": "./data/UCF101",
    "use_cuda": True,
    "save_dir": "./save",
    "dataloader": {"shuffle": True, "pin_memory": True, "batch_size": 32, "workers": 0, "test_percent_size": 0.15},
    "pickle_locations": {
        "CNN_weights": "./var_data/cnn.pth",
        "SNN_weights": "./var_data/snn_params",
        "action_names": "./var_data/actions.pkl",
        "train_data": "./var_data/train_data.pickle",
        "test_data": "./var_data/test_data.pickle",
        "train_labels": "./var_data/train_labels.pickle",
        "test_labels": "./var_data/test_labels.pickle",
    },
    "SNN": {"minibatch_size": 64},
    "SNN_trainer": {
        "epochs": 30,
        "import_CNN_forward_data": True,
        "get_initial_testing_accuracy": False,
        "do_SNN_training": True,
    },
}


def change(place, value):
    raw = copy.deepcopy(ORIGINAL)
    *sections, key = place.split(".")
    node = raw
    for section in sections:
        node = node[section]
    if value is None:
        del node[key]
    else:
        node[key] = value
    return raw


def load(tmp_path, raw):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(raw))
    return load_config(path)


def test_the_originals_file_is_told_apart_even_with_keys_missing():
    assert matches(ORIGINAL)
    assert matches(change("pickle_locations", None))
    assert not matches({"name": "x", "dataset": {"type": "features", "path": "f"}, "model": {"type": "lmu"}})
    assert not matches({"name": "x", "data_path": "a slip in a file of ours"})


def test_pickled_features_give_todays_configuration(tmp_path):
    config = load(tmp_path, ORIGINAL)
    assert config.dataset.type == "seed_pickles"
    assert str(config.dataset.train_labels) == "var_data/train_labels.pickle"
    assert (config.model.type, config.model.n_ensembles, config.model.n_neurons) == ("ensemble_array", 10000, 50)
    assert (config.model.gradient, config.model.input_weights, config.model.tau_input) == ("rate", "zero", 0.005)
    assert (config.training.optimizer, config.training.learning_rate, config.training.schedule) == (
        "adam",
        0.001,
        "constant",
    )
    assert (config.training.epochs, config.training.batch_size, config.evaluation.batch_size) == (30, 64, 64)
    assert (config.training.loss.timestep, config.training.loss.clip) == (1.0, 0.0)
    assert config.training.validation_share == 0
    assert (config.training.skip, config.training.weights, config.training.initial_accuracy) == (False, None, False)
    assert config.device == "auto"


def test_frames_go_through_the_originals_cnn(tmp_path):
    config = load(tmp_path, change("SNN_trainer.import_CNN_forward_data", False))
    assert config.dataset.type == "seed_frames"
    assert str(config.dataset.path) == "data/UCF101"
    assert str(config.dataset.pickles.test_data) == "var_data/test_data.pickle"
    assert (config.clip.frames, config.clip.sampling, config.clip.streams) == (28, "first", ("rgb",))
    assert (config.backbone.name, config.backbone.weights) == ("res_cnn_encoder", "./var_data/cnn.pth")
    assert config.backbone.batch_size == 32


def test_no_training_loads_weights_and_the_first_accuracy_is_asked_for(tmp_path):
    raw = change("SNN_trainer.do_SNN_training", False)
    raw["SNN_trainer"]["get_initial_testing_accuracy"] = True
    config = load(tmp_path, raw)
    assert (config.training.skip, str(config.training.weights)) == (True, "var_data/snn_params")
    assert config.training.initial_accuracy


@pytest.mark.parametrize(
    ("place", "value", "read"),
    [
        ("seed", 7, lambda config: config.seed == 7),
        ("use_cuda", False, lambda config: config.device == "cpu" and not config.training.pin_memory),
        ("save_dir", "./elsewhere/", lambda config: str(config.save_dir) == "elsewhere"),
        ("dataloader.shuffle", False, lambda config: config.training.shuffle is False),
        ("dataloader.pin_memory", False, lambda config: config.training.pin_memory is False),
        ("dataloader.workers", 2, lambda config: config.training.workers == 2),
        ("dataloader.test_percent_size", None, lambda config: config.name == "action_recognition"),
        ("name", "action recognition/1", lambda config: config.name == "action_recognition_1"),
        ("SNN_trainer.epochs", 0, lambda config: config.training.epochs == 0),
    ],
)
def test_every_key_arrives(tmp_path, place, value, read):
    assert not read(load(tmp_path, ORIGINAL)) or value is None
    assert read(load(tmp_path, change(place, value)))


def test_older_keys_of_the_originals_files():
    raw = change("SNN_trainer.import_CNN_forward_data", False)
    raw["SNN"] |= {"unroll_simulation": 16, "end_frame": 18}
    config, notes = translate(raw)
    assert config["clip"]["frames"] == 17  # the original reads frames 1 to end_frame - 1
    assert any("unroll_simulation" in note for note in notes)


def test_notes_say_what_has_no_effect_and_what_inflates():
    _, notes = translate(ORIGINAL)
    text = " ".join(notes)
    for word in ("test_percent_size", "device: auto", "no validation", "inflated", "SNN_weights"):
        assert word in text
    assert "test_percent_size" not in " ".join(translate(change("dataloader.test_percent_size", None))[1])


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("sead", 1, ["sead", "'seed'"]),
        ("dataloader.batchsize", 1, ["dataloader.batchsize", "'batch_size'"]),
        ("SNN_trainer.epoch", 1, ["SNN_trainer.epoch", "'epochs'"]),
        ("SNN_trainer.epochs", None, ["SNN_trainer.epochs", "missing"]),
        ("SNN", None, ["SNN", "missing"]),
        ("pickle_locations.train_data", None, ["pickle_locations.train_data", "missing"]),
        ("pickle_locations.train_data", 3, ["pickle_locations.train_data", "string"]),
        ("SNN.minibatch_size", 0, ["SNN.minibatch_size", "greater"]),
        ("SNN.minibatch_size", "100", ["SNN.minibatch_size", "integer", "100"]),
        ("use_cuda", "yes", ["use_cuda", "boolean", "yes"]),
        ("SNN_trainer.epochs", True, ["SNN_trainer.epochs", "integer"]),
        ("dataloader", 3, ["dataloader", "object"]),
        ("model", {"type": "lmu"}, ["model", "unknown key"]),
        ("seed", -1, ["seed"]),
        ("name", "..", ["name"]),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, place, value, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, change(place, value))
    for word in words:
        assert word in str(caught.value)


def test_translation_leaves_its_input_alone():
    before = copy.deepcopy(ORIGINAL)
    translate(ORIGINAL)
    assert before == ORIGINAL
