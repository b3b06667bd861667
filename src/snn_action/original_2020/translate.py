"""The original 2020 project's configuration, and the same in today's form.

The original (github.com/Jbwasse2/Snn-action) reads one JSON file. What its keys mean is taken from its last code: the
network is always the ensemble array, all training videos train, and the weights of the last epoch are tested.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from snn_action.core.settings import Settings, SettingsError, validate

NAME = "the original project"
FRAMES = 28
LEAK = (
    "The original's CNN weights were trained on a random 75 % of all UCF101 videos, so they have seen most test "
    "videos: accuracies on features of these weights are inflated."
)
NO_VALIDATION = "As in the original there is no validation: the weights of the last epoch are tested."

_OWN_KEYS = frozenset({"data_path", "use_cuda", "dataloader", "pickle_locations", "SNN", "SNN_trainer"})


class DataLoaderSettings(Settings):
    """How frames came to the CNN."""

    shuffle: bool = Field(description="Draw a new order of the training clips each epoch")
    pin_memory: bool = Field(description="Page-locked memory for batches: faster copies to a GPU")
    batch_size: int = Field(ge=1, description="Frames that go through the CNN at once")
    workers: int = Field(ge=0, description="Processes that read frames and batches")
    test_percent_size: float | None = Field(None, description="Read and never used, by the original too")


class PickleLocations(Settings):
    """Where files lie; relative paths count from where the command is run."""

    CNN_weights: str = Field(min_length=1, description="Weights of the CNN (.pth)")
    SNN_weights: str = Field(min_length=1, description="Weights of the spiking network, tested without training")
    action_names: str = Field(min_length=1, description="Pickled list of class names")
    train_data: str = Field(min_length=1, description="Pickled features (videos, steps, features) to train on")
    test_data: str = Field(min_length=1, description="Pickled features (videos, steps, features) to test on")
    train_labels: str = Field(min_length=1, description="Pickled labels (videos, steps, 1) to train on")
    test_labels: str = Field(min_length=1, description="Pickled labels (videos, steps, 1) to test on")


class SNNSettings(Settings):
    """The spiking network; the last two keys stand in some of the original's older files."""

    minibatch_size: int = Field(ge=1, description="Clips of one training step, and tested at once")
    unroll_simulation: int | None = Field(None, ge=1, description="Steps that NengoDL unrolled; changes no result")
    end_frame: int | None = Field(None, ge=2, description="One more than the frames of a clip; null: 29")


class SNNTrainerSettings(Settings):
    """What is done."""

    epochs: int = Field(ge=0, description="Passes over the training clips")
    import_CNN_forward_data: bool = Field(description="Read pickled features; false: extract them")  # noqa: N815
    get_initial_testing_accuracy: bool = Field(description="Also test before training")
    do_SNN_training: bool = Field(description="Train; false: test SNN_weights")  # noqa: N815


class SeedConfig(Settings):
    """The original's file, key by key."""

    name: str = Field(min_length=1, description="Of the run")
    seed: int = Field(ge=0, lt=2**32, description="Of weights and the order of clips")
    data_path: str = Field(min_length=1, description="Folder with train/ and test/, a folder of frames for each video")
    use_cuda: bool = Field(description="Use a GPU where there is one")
    save_dir: str = Field(min_length=1, description="Folder of results")
    dataloader: DataLoaderSettings = Field(description="How frames come to the CNN")
    pickle_locations: PickleLocations = Field(description="Where files lie")
    SNN: SNNSettings = Field(description="The spiking network")
    SNN_trainer: SNNTrainerSettings = Field(description="What is done")


def matches(raw: Mapping[str, Any]) -> bool:
    """Whether this is a file of the original: it has at least two of the keys that only the original has."""
    return len(_OWN_KEYS & raw.keys()) >= 2


def translate(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Today's configuration that does what the original's does, and notes on what a reader should know.

    Raises:
        SettingsError: a key is unknown, missing or of the wrong type; names each with its place and the nearest key.
    """
    seed = validate(SeedConfig, raw)
    name = re.sub(r"[^\w.-]+", "_", seed.name)
    if not name.strip("."):
        raise SettingsError([(("name",), f"{seed.name!r} does not make the name of a folder")])
    places, loader, trainer = seed.pickle_locations, seed.dataloader, seed.SNN_trainer
    config: dict[str, Any] = {
        "name": name,
        "seed": seed.seed,
        "save_dir": seed.save_dir,
        "device": "auto" if seed.use_cuda else "cpu",
        "dataset": _make_dataset(seed),
    }
    if not trainer.import_CNN_forward_data:
        config["clip"] = {"frames": (seed.SNN.end_frame or FRAMES + 1) - 1, "sampling": "first", "streams": ["rgb"]}
        config["backbone"] = {
            "name": "res_cnn_encoder",
            "weights": places.CNN_weights,
            "batch_size": loader.batch_size,
        }
        config["features"] = {"store": f"{seed.save_dir.rstrip('/')}/features", "workers": loader.workers}
    config["model"] = {
        "type": "ensemble_array",
        "n_ensembles": 10000,
        "n_neurons": 50,
        "gradient": "rate",
        "input_weights": "zero",
        "tau_input": 0.005,
        "scaling": "global",
    }
    config["training"] = {
        "epochs": trainer.epochs,
        "batch_size": seed.SNN.minibatch_size,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "schedule": "constant",
        "loss": {"timestep": 1.0, "clip": 0.0},
        "validation_share": 0.0,
        "shuffle": loader.shuffle,
        "workers": loader.workers,
        "pin_memory": loader.pin_memory and seed.use_cuda,
        "weights": None if trainer.do_SNN_training else places.SNN_weights,
        "skip": not trainer.do_SNN_training,
        "initial_accuracy": trainer.get_initial_testing_accuracy,
    }
    config["evaluation"] = {"batch_size": seed.SNN.minibatch_size, "test_curve": True, "leakage": "mark"}
    return config, _make_notes(seed, name)


def _make_dataset(seed: SeedConfig) -> dict[str, Any]:
    places = seed.pickle_locations
    pickles = {
        "train_data": places.train_data,
        "test_data": places.test_data,
        "train_labels": places.train_labels,
        "test_labels": places.test_labels,
    }
    if seed.SNN_trainer.import_CNN_forward_data:
        return {"type": "seed_pickles", "action_names": places.action_names, **pickles}
    return {"type": "seed_frames", "path": seed.data_path, "action_names": places.action_names, "pickles": pickles}


def _make_notes(seed: SeedConfig, name: str) -> list[str]:
    notes = []
    if name != seed.name:
        notes.append(f"name: {seed.name!r} is written {name!r}, so that it can name a folder.")
    if seed.dataloader.test_percent_size is not None:
        notes.append("dataloader.test_percent_size has no effect; the original read it and never used it.")
    if seed.SNN.unroll_simulation is not None:
        notes.append("SNN.unroll_simulation has no effect: it concerned NengoDL's speed, not its results.")
    if seed.SNN.end_frame is not None and seed.SNN_trainer.import_CNN_forward_data:
        notes.append("SNN.end_frame has no effect on features that are read from pickles.")
    if seed.use_cuda:
        notes.append("use_cuda: true is device: auto, a GPU where there is one and the CPU otherwise.")
    if seed.SNN_trainer.do_SNN_training:
        notes.append(
            "pickle_locations.SNN_weights is not written: the run folder holds the trained weights "
            "(checkpoints/last.ckpt); name that file there for do_SNN_training: false."
        )
        notes.append(NO_VALIDATION)
    notes.append(f"{LEAK} evaluation.leakage is 'mark', so that they can be tested; the report is marked.")
    return notes
