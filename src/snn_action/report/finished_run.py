"""Reads a finished run folder: what was run, what came out, and the clips that its report shows."""

import csv
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from snn_action.core.archives import open_arrays
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.reading import read_text, reading
from snn_action.core.run_access import require_run
from snn_action.core.tables import read_table
from snn_action.report.metrics import Epoch, Metrics, Part


@dataclass(frozen=True)
class Prediction:
    """The prediction for one test video; ``probability`` is that of the predicted class."""

    fold: str
    video: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Example:
    """A test clip to show, T steps of it.

    Attributes:
        name: Of its video.
        label: Its class, a place in ``class_names``.
        class_names: Of all K classes.
        probabilities: (T, K).
        frames: (T, h, w, 3) uint8; None: there is no video.
        spikes: Counts of some hidden units (T, N); None: they do not spike.
        hidden_units: All that there are.
    """

    name: str
    label: int
    class_names: tuple[str, ...]
    probabilities: npt.NDArray[np.floating[Any]]
    frames: npt.NDArray[np.uint8] | None
    spikes: npt.NDArray[np.unsignedinteger] | None = None
    hidden_units: int = 0

    @property
    def predicted(self) -> int:
        """Class of the highest probability, averaged over time."""
        return int(self.probabilities.mean(0).argmax())


@dataclass(frozen=True)
class FinishedRun:
    """Everything that a report is made of."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: Metrics
    history: tuple[Epoch, ...]
    class_names: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    predictions: tuple[Prediction, ...]
    examples: tuple[Example, ...]
    left_out: tuple[str, ...] = ()  # what of the clips could not be shown, and why

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return str(self.config.get("name", self.folder.parent.name))

    def setting(self, section: str, key: str) -> Any:
        """A value of the configuration, None where it has none."""
        part = self.config.get(section)
        return part.get(key) if isinstance(part, dict) else None

    @property
    def backbone(self) -> str | None:
        """Name of the backbone; None where the features came with the dataset."""
        return None if self.metrics.operations.backbone is None else str(self.setting("backbone", "name"))


def read_run(folder: str | Path) -> FinishedRun:
    """Read a finished run folder.

    Raises:
        ConfigError: the folder is missing or is not a run folder, or its configuration or environment is broken.
        WorkError: the run is not finished, or one of its files is broken; names the file.
    """
    folder = Path(folder)
    require_run(folder)
    for name in ("metrics.json", "predictions.csv", "confusion.csv"):
        if not (folder / name).is_file():
            way_out = f"finish it with: snn-action run --resume {folder}"
            raise WorkError(f"{folder}: this run is not finished, {name} is missing; {way_out}")
    class_names, confusion = _read_confusion(folder / "confusion.csv")
    examples, left_out = _read_examples(folder / "examples.npz")
    return FinishedRun(
        folder,
        _read_begin(folder / "config.json"),
        _read_begin(folder / "environment.json"),
        _fit(Metrics, _read_object(folder / "metrics.json"), folder / "metrics.json"),
        _read_history(folder / "metrics.jsonl"),
        class_names,
        confusion,
        _read_predictions(folder / "predictions.csv"),
        examples,
        left_out,
    )


def _read_begin(path: Path) -> dict[str, Any]:
    """What was written when the run began; the environment may be missing."""
    try:
        return _read_object(path) if path.is_file() else {}
    except WorkError as error:
        raise ConfigError(str(error)) from None


def _broken(path: Path, reason: object) -> WorkError:
    return WorkError(f"{path}: broken: {reason}; {_find_way_out(path)}")


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(path, "broken", lambda text: WorkError(f"{text}; {_find_way_out(path)}"))


def _find_way_out(path: Path) -> str:
    if path.name == "config.json":
        return "restore it"
    if path.name in ("environment.json", "metrics.jsonl"):  # a report can do without
        return "restore it, or remove it"
    return f"restore it, or test the run again with: snn-action evaluate {path.parent}"


def _read_text(path: Path) -> str:
    with _reading(path):
        return read_text(path)


def _read_object(path: Path) -> dict[str, Any]:
    return _parse_object(_read_text(path), path)


def _parse_object(text: str, path: Path, place: str = "") -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"{place}not JSON ({error})") from None
    if not isinstance(value, dict):
        raise _broken(path, f"{place}a JSON object is wanted, not {type(value).__name__}")
    return value


M = TypeVar("M", bound=Part)


def _fit(cls: type[M], value: dict[str, Any], path: Path, place: str = "") -> M:
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise _broken(path, f"{place}{key}: {first['msg']}") from None


def _read_history(path: Path) -> tuple[Epoch, ...]:
    """Epochs in order; none where nothing was trained. Of an epoch written twice (a resumed run), the last counts."""
    if not path.exists():
        return ()
    epochs: dict[tuple[str, int], Epoch] = {}
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if line.strip():
            epoch = _fit(Epoch, _parse_object(line, path, f"line {number}: "), path, f"line {number}: ")
            epochs[epoch.fold, epoch.epoch] = epoch
    order = {fold: place for place, fold in enumerate(dict.fromkeys(fold for fold, _ in epochs))}
    return tuple(sorted(epochs.values(), key=lambda epoch: (order[epoch.fold], epoch.epoch)))


def _read_rows(path: Path) -> Iterator[list[str]]:
    try:
        yield from read_table(_read_text(path))
    except csv.Error as error:
        raise _broken(path, error) from None


def _read_confusion(path: Path) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    rows = [row for row in _read_rows(path) if row]
    names = tuple(rows[0][1:]) if rows else ()
    if len(names) < 2 or tuple(row[0] for row in rows[1:]) != names or any(len(r) != len(names) + 1 for r in rows):
        raise _broken(path, "not a square table with the same class names in its first row and column")
    try:
        counts = np.array([[int(cell) for cell in row[1:]] for row in rows[1:]], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise _broken(path, error) from None
    if (counts < 0).any():
        raise _broken(path, "a count is negative")
    return names, counts


def _read_predictions(path: Path) -> tuple[Prediction, ...]:
    rows = _read_rows(path)
    header = next(rows, [])
    wanted = ("fold", "video", "label", "predicted", "probability")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise _broken(path, f"column {missing[0]} is missing")
    places = [header.index(name) for name in wanted]
    result = []
    for row in rows:
        try:
            fold, video, label, predicted, probability = (row[place] for place in places)
            result.append(Prediction(fold, video, label, predicted, float(probability)))
        except (IndexError, ValueError):
            raise _broken(path, f"row {len(result) + 2} does not fit its header") from None
    return tuple(result)


def _read_examples(path: Path) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Clips to show (none where the run kept none), and what could not be shown of them."""
    if not path.is_file():
        return (), ()
    with _reading(path), open_arrays(path) as file:
        class_names = tuple(str(name) for name in file["class_names"])
        examples = tuple(
            _check_example(
                Example(
                    str(name),
                    int(file["labels"][place]),
                    class_names,
                    file[f"probabilities_{place}"],
                    file.get(f"frames_{place}"),
                    file.get(f"spikes_{place}"),
                    int(file.get("hidden_units", 0)),
                )
            )
            for place, name in enumerate(file["names"])
        )
        return examples, tuple(str(words) for words in file.get("left_out", ()))


def _check_example(example: Example) -> Example:
    steps, classes = len(example.probabilities), len(example.class_names)
    if not steps or example.probabilities.shape != (steps, classes) or not 0 <= example.label < classes:
        raise ValueError(f"{example.name}: probabilities {example.probabilities.shape} do not fit {classes} classes")
    frames, spikes = example.frames, example.spikes
    if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[::3] != (steps, 3)):
        raise ValueError(f"{example.name}: frames must be (T, h, w, 3) uint8 with T {steps}, not {frames.shape}")
    if spikes is not None and (spikes.dtype.kind != "u" or spikes.ndim != 2 or len(spikes) != steps):
        raise ValueError(f"{example.name}: spikes must be (T, N) unsigned with T {steps}, not {spikes.shape}")
    if spikes is not None and not 0 < spikes.shape[1] <= example.hidden_units:
        raise ValueError(f"{example.name}: spikes of {spikes.shape[1]} of {example.hidden_units} hidden units")
    return example
