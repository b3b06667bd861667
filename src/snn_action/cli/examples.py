"""The configurations that come with the package: the files of ``configs/``, for use outside the repository."""

import json
from pathlib import Path
from typing import Any

from snn_action.core.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "configs"
DEMO = "config"
_SETS = {
    "synthetic": "generated videos, without any download",
    "folder": "your own videos, one folder per class",
    "ucf101": "the videos of UCF101",
    "weizmann": "the videos of Weizmann",
    "features": "a file of features (.npz)",
}


def list_examples() -> list[str]:
    """Their names: of the files, without ``.json``."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.name != "schema.json")


def find_example(name: str) -> Path:
    """The file of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in list_examples():
        raise ConfigError(f"--example {name}: there is no such configuration; snn-action init --list names all")
    return FOLDER / f"{name}.json"


def describe(raw: dict[str, Any]) -> str:
    """What a configuration is for, in one line made from its keys."""
    dataset = raw["dataset"]
    model = raw["model"]
    named = f"{model['model']['type']} (one per stream)" if model["type"] == "late_fusion" else model["type"]
    words = f"{named} on {_SETS[dataset['type']]}"
    if "split" in dataset:
        words += ", all splits" if dataset["split"] == "all" else f", split {dataset['split']}"
    if "backbone" in raw:
        streams = " + ".join(raw["clip"].get("streams", ["rgb"]))
        words += f"; features: {raw['backbone']['name']}, {streams}"
    return words


def copy_example(name: str, target: Path, overwrite: bool = False) -> Path:
    """Write a configuration to a file (``*.json``), or under its own name into a folder, which is made.

    Raises:
        ConfigError: there is no such configuration, or the file exists and ``overwrite`` is false.
        OSError: the file cannot be written.
    """
    from snn_action.core.files import write_atomic

    source = find_example(name)
    path = target if target.suffix == ".json" and not target.is_dir() else target / source.name
    if not overwrite and (path.exists() or path.is_symlink()):
        raise ConfigError(f"{path}: the file exists; --force replaces it")
    raw = json.loads(source.read_text(encoding="utf-8"))
    del raw["$schema"]  # a path beside the file, of the repository only
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(raw, indent=2) + "\n")
    return path
