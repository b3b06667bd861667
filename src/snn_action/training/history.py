"""What happens after every epoch: it is measured, written down, and the weights are kept."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snn_action.core import distributed
from snn_action.core.errors import ConfigError
from snn_action.core.files import write_atomic
from snn_action.core.reading import read_text, reading
from snn_action.datasets.trained_on import TrainedOn
from snn_action.training.checkpoints import TrainingState, write_checkpoint

Measure = Callable[[], dict[str, float]]
Line = dict[str, Any]  # of metrics.jsonl


def find_best(lines: Sequence[Line]) -> int | None:
    """The epoch whose weights are kept: that of least validation loss (the first of equals), or else the last."""
    trained = [line for line in lines if line["epoch"] >= 0]
    if not trained:
        return None
    if any("validation" not in line for line in trained):
        return int(trained[-1]["epoch"])
    return int(min(trained, key=lambda line: line["validation"]["loss"])["epoch"])


class EpochRecorder:
    """Measures, writes ``metrics.jsonl`` and keeps ``checkpoints/{best,last}.ckpt``, in this order.

    An epoch is finished once ``last.ckpt`` is in place. The epochs so far travel inside it: after a kill,
    ``metrics.jsonl`` is written anew from it, so that no line is lost or doubled. ``best.ckpt`` comes before it: the
    other way round, a kill between the two would leave the best epoch finished but its weights unkept. Several
    processes measure together and know the same lines; the first of them writes.

    Args:
        folder: Of the run or fold.
        lines: Of the epochs so far.
        measures: Called after every epoch; what each gives stands in the line under its name.
        patience: Epochs without improvement before training stops; None: it never does.
        extra: Put into every line.
        trained_on: Put into every checkpoint.
        listeners: Called with every new line.
    """

    def __init__(
        self,
        folder: Path,
        lines: Sequence[Line],
        measures: dict[str, Measure],
        patience: int | None,
        extra: dict[str, Any],
        trained_on: TrainedOn | None = None,
        listeners: Sequence[Callable[[Line], None]] = (),
    ) -> None:
        self.folder = folder
        self.lines = list(lines)
        self.measures = measures
        self.patience = patience
        self.extra = extra
        self.trained_on = trained_on
        self.listeners = listeners
        if distributed.is_main() and self.next_epoch > 0:
            write_lines(folder, self.lines)

    @property
    def next_epoch(self) -> int:
        """The epoch that comes next, from 0."""
        return 1 + max((int(line["epoch"]) for line in self.lines), default=-1)

    def lost_patience(self) -> bool:
        """Whether the best epoch is ``patience`` epochs ago."""
        best = find_best(self.lines)
        return self.patience is not None and best is not None and self.lines[-1]["epoch"] - best >= self.patience

    def finish(self, epoch: Line, seconds: float, pack: Callable[[list[Line]], TrainingState]) -> None:
        """Measure, write and keep an epoch.

        Args:
            epoch: Its number, learning rate and training curves, as they stand in its line.
            seconds: That its training steps took.
            pack: Gives what training goes on from, together with the lines so far.
        """
        measured = {name: measure() for name, measure in self.measures.items()}
        line = {**self.extra, **epoch, **measured, "seconds": seconds}
        self.lines.append(line)
        if distributed.is_main():
            write_lines(self.folder, self.lines)
            content = pack(self.lines).to_content(self.trained_on)
            for name in ("best", "last") if find_best(self.lines) == line["epoch"] else ("last",):
                write_checkpoint(content, self.folder / "checkpoints" / f"{name}.ckpt")
        for listen in self.listeners:
            listen(line)


def write_lines(folder: Path, lines: Sequence[Line]) -> None:
    """Write ``metrics.jsonl``: one line an epoch."""
    write_atomic(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def read_lines(folder: Path) -> list[Line]:
    """The epochs of a run or fold; none where nothing was trained.

    Raises:
        ConfigError: the file is broken.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    with reading(path, "broken", lambda text: ConfigError(f"{text}; restore it, or remove it")):
        return check_lines([json.loads(line) for line in read_text(path).splitlines()])


def check_lines(lines: Any) -> list[Line]:
    """The lines of epochs that somebody else may have written.

    Raises:
        ValueError: they are something else.
    """
    if not isinstance(lines, list):
        raise ValueError("the epochs are no list")
    for line in lines:
        if not isinstance(line, dict) or not all(isinstance(key, str) for key in line):
            raise ValueError("an epoch is no object")
        if not isinstance(line.get("epoch"), int) or not -1 <= line["epoch"] < 2**31:
            raise ValueError("an epoch has no number")
        sides = [line[side] for side in ("train", "validation", "test") if side in line]
        if not all(isinstance(side, dict) and all(map(_is_number, side.values())) for side in sides):
            raise ValueError("what was measured after an epoch is no number")
        if not _is_number(line.get("seconds", 0.0)) or ("validation" in line and "loss" not in line["validation"]):
            raise ValueError("an epoch has no time or no loss")
    return list(lines)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
