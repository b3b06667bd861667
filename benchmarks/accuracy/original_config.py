"""The original 2020 project's configuration on real features: its pickles and its ``config.json``, ready to run.

    python benchmarks/accuracy/original_config.py FEATURES.npz FOLDER
    python main.py -c FOLDER/config.json

FEATURES.npz is a features file (``features (V, T, D)``, ``labels``, ``class_names``, ``split`` of "train" and "test").
FOLDER gets ``config.json`` in the original's form and, beside it, features and labels pickled as the original did.
"""

import argparse
import json
import pickle
from pathlib import Path

import numpy as np

from snn_action.original_2020.pickles import write_pickles

PICKLES = ("train_data", "test_data", "train_labels", "test_labels")


def write_features(source: Path, folder: Path) -> None:
    """Pickle both sides of a features file; the original's labels are places in the sorted names."""
    with np.load(source) as file:
        features, labels, names, split = (file[name] for name in ("features", "labels", "class_names", "split"))
    place = np.argsort(np.argsort(names))
    for side in ("train", "test"):
        chosen = split == side
        data, classes = folder / f"{side}_data.pickle", folder / f"{side}_labels.pickle"
        write_pickles(data, classes, features[chosen], place[labels[chosen]])
    (folder / "action_names.pickle").write_bytes(pickle.dumps([str(name) for name in names], protocol=4))


def make_config(folder: Path, epochs: int) -> dict[str, object]:
    """The original's file, key by key."""
    places = {name: str(folder / f"{name}.pickle") for name in ("action_names", *PICKLES)}
    return {
        "name": "action_recognition",
        "seed": 0,
        "data_path": str(folder / "frames"),
        "use_cuda": True,
        "save_dir": str(folder / "save"),
        "dataloader": {"shuffle": True, "pin_memory": True, "batch_size": 32, "workers": 0, "test_percent_size": 0.15},
        "pickle_locations": {
            "CNN_weights": str(folder / "cnn_encoder.pth"),
            "SNN_weights": str(folder / "snn_weights"),
            **places,
        },
        "SNN": {"minibatch_size": 100},
        "SNN_trainer": {
            "epochs": epochs,
            "import_CNN_forward_data": True,
            "get_initial_testing_accuracy": True,
            "do_SNN_training": True,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, metavar="FEATURES.npz")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_features(arguments.features, arguments.folder)
    config = arguments.folder / "config.json"
    config.write_text(json.dumps(make_config(arguments.folder, arguments.epochs), indent=4) + "\n")
    print(f"run it: python main.py -c {config}")


if __name__ == "__main__":
    main()
