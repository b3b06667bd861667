"""The file ``splits.json`` in the folder of a run: its split, written before training and read by all that comes after.

It names the run's classes in order and, for each video, its class, its group and a digest of its content; for each fold
the videos of each side; for the backbone the digest of its weights and what images it gets.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snn_action.config import Config
from snn_action.core.errors import ConfigError, printable
from snn_action.core.files import write_atomic
from snn_action.core.reading import parse_json, read_text, reading
from snn_action.core.registry import OLD_NAMES
from snn_action.datasets.trained_on import Member, parse_trained_on
from snn_action.runs.folder import find_changes, learned_settings, read_run_config
from snn_action.runs.split import Sides, Split

FILE = "splits.json"
VERSION = 2  # the first version had the names of videos and nothing else of them


def write_split(folder: Path, split: Split) -> None:
    """Write ``splits.json`` into a run's folder."""
    write_atomic(folder / FILE, _write(split))


def read_split(folder: Path) -> Split:
    """What a run decided; also one of the first version, which has names only.

    Raises:
        ConfigError: the run has not begun to train, or its file is broken or of a newer version.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        if any(folder.rglob("*.ckpt")):
            raise ConfigError(f"{path}: missing, so nobody knows what this run was trained on; restore it")
        raise ConfigError(
            f"{folder}: this run has not begun to train; continue it with: snn-action run --resume {folder}"
        )
    with reading(path, "broken", lambda text: ConfigError(f"{text}; restore it, or begin a new run")):
        content = parse_json(read_text(path))
        if isinstance(version := content.get("version", 1), int) and version > VERSION:
            raise ConfigError(f"{path}: written by a newer version of snn-action; update it")
        return _parse(content)


def read_begun_run(folder: Path, overrides: Sequence[str] = ()) -> tuple[Config, Split]:
    """The configuration of a run that has begun to train, with overrides put over it, and what the run decided.

    Raises:
        ConfigError: the folder is not that of such a run, or what is learned or tested would not be the same as when
            the run began: by an override, or as its ``config.json`` was changed since.
    """
    config, split = read_run_config(folder, overrides), read_split(folder)
    then = split.settings or learned_settings(read_run_config(folder))
    if changes := find_changes(then, learned_settings(config)):
        raise ConfigError(
            f"{folder}: this changes what the run has learned or is tested on: {'; '.join(changes)}. A run keeps "
            "both: leave that out, or begin a new run"
        )
    return config, split


def _write(split: Split) -> str:
    """The text of the file."""
    content = {
        "version": VERSION,
        "class_names": split.class_names,
        "from_videos": split.from_videos,
        "backbone": split.backbone,
        "settings": split.settings,
        "bad_videos": split.bad,
        "start": None if split.start is None else split.start.to_content(),
        "folds": [asdict(fold) for fold in split.folds],
        "videos": {
            name: {"label": member.label, "group": member.group, "digest": member.digest}
            for name, member in split.members.items()
        },
    }
    return json.dumps(content, indent=1) + "\n"


def _read_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides what is learned, with today's name of a model that an earlier version named otherwise."""
    name = settings.get("model.type")
    today = OLD_NAMES["model"].get(name, name) if isinstance(name, str) else name
    return {**settings, **({"model.type": today} if "model.type" in settings else {})}


def _parse(content: Mapping[str, Any]) -> Split:
    folds = tuple(
        Sides(
            name=str(fold["name"]),
            train=_texts(fold["train"]),
            validation=_texts(fold["validation"]),
            test=_texts(fold["test"]),
            baseline=_texts(fold.get("baseline", fold["validation"])),
            dropped=_texts(fold.get("dropped", ())),
        )
        for fold in content["folds"]
    )
    named = dict.fromkeys(name for fold in folds for name in (*fold.train, *fold.validation, *fold.test))
    known = content.get("videos", {})
    order = [name for name in known if name in named] if known else named  # that of the catalog, where it is known
    members = {name: _parse_member(name, known.get(name, {})) for name in order}
    unknown = [name for fold in folds for name in fold.baseline if name not in members]
    if not folds or unknown or len(members) < len(named) or len({fold.name for fold in folds}) < len(folds):
        raise ValueError("its folds and videos do not fit together")
    class_names = tuple(map(printable, _texts(content["class_names"])))  # they are shown in terminals
    backbone = content.get("backbone")
    if len(set(class_names)) < max(2, len(class_names)):
        raise ValueError("its classes are fewer than two, or one is there twice")
    if not (backbone is None or isinstance(backbone, dict)):
        raise ValueError("its backbone is not described")
    return Split(
        class_names,
        members,
        folds,
        bool(content["from_videos"]),
        backbone,
        _read_settings(content.get("settings", {})),
        {name: str(reason) for name, reason in content.get("bad_videos", {}).items()},
        None if content.get("start") is None else parse_trained_on(content["start"]),
    )


def _parse_member(name: str, known: Mapping[str, Any]) -> Member:
    if not all(value is None or isinstance(value, str) for value in known.values()):
        raise ValueError(f"what it says of {name!r} is no text")
    return Member(name, **known)


def _texts(names: Sequence[Any]) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("a list of names is none")
    return tuple(names)
