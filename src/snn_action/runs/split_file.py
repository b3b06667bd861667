"""The file ``splits.json`` in the folder of a run: its split, written before training and read by all that comes after.

It names the run's classes in order and, for each video, its class, its group and a digest of its content; for each fold
the videos of each side; for the backbone the digest of its weights and what images it gets.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.core.files import write_atomic
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
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: no regular file; restore it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(version := content.get("version", 1), int) and version > VERSION:
            raise ConfigError(f"{path}: written by a newer version of snn-action; update it")
        return _parse(content)
    except FileNotFoundError:
        if any(folder.rglob("*.ckpt")):
            raise ConfigError(f"{path}: missing, so nobody knows what this run was trained on; restore it") from None
        raise ConfigError(
            f"{folder}: this run has not begun to train; continue it with: snn-action run --resume {folder}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path}: broken ({type(error).__name__}: {error}); begin a new run") from None


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
    members = {name: Member(name, **known.get(name, {})) for name in order}
    unknown = [name for fold in folds for name in fold.baseline if name not in members]
    if not folds or unknown or len(members) < len(named):
        raise ValueError("its folds and videos do not fit together")
    return Split(
        _texts(content["class_names"]),
        members,
        folds,
        bool(content["from_videos"]),
        content.get("backbone"),
        _read_settings(content.get("settings", {})),
        dict(content.get("bad_videos", {})),
        None if content.get("start") is None else parse_trained_on(content["start"]),
    )


def _texts(names: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in names)
