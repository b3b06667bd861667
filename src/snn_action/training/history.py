"""What happens after every epoch: it is measured, written down, and the weights are kept."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snn_action.core import distributed
from snn_action.core.compat import lightning
from snn_action.core.files import write_atomic
from snn_action.datasets.trained_on import TrainedOn
from snn_action.training.checkpoints import TRAINED_ON, write_checkpoint

Measure = Callable[[], dict[str, float]]


@dataclass
class Keeper:
    """The epochs so far, and which of them is best."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> bool:
        """Append an epoch; true where it is the best so far."""
        self.lines.append(line)
        return bool(find_best(self.lines) == line["epoch"])

    def waited(self) -> int:
        """Epochs since the best one."""
        best = find_best(self.lines)
        return 0 if best is None else int(self.lines[-1]["epoch"]) - best


def find_best(lines: Sequence[dict[str, Any]]) -> int | None:
    """The epoch whose weights are kept: that of least validation loss (the first of equals), or else the last."""
    trained = [line for line in lines if line["epoch"] >= 0]
    if not trained:
        return None
    if any("validation" not in line for line in trained):
        return int(trained[-1]["epoch"])
    return int(min(trained, key=lambda line: line["validation"]["loss"])["epoch"])


class CheckpointFiles(lightning.pytorch.plugins.TorchCheckpointIO):
    """Lightning's checkpoints, written as all our files are; its own way is through the folder of temporary files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write a checkpoint, complete or not at all.

        Raises:
            OSError: it cannot be written; names ``path``.
        """
        write_checkpoint(checkpoint, Path(path))


class EpochRecorder(lightning.Callback):
    """Measures, writes ``metrics.jsonl`` and keeps ``checkpoints/{best,last}.ckpt``, in this order.

    An epoch is finished once ``last.ckpt`` is in place. The epochs so far travel inside it: after a kill,
    ``metrics.jsonl`` is written anew from it, so that no line is lost or doubled. ``best.ckpt`` comes before it: the
    other way round, a kill between the two would leave the best epoch finished but its weights unkept. Several
    processes measure together and know the same lines; the first of them writes.
    """

    def __init__(
        self,
        folder: Path,
        measures: dict[str, Measure],
        patience: int | None,
        tell: Callable[[dict[str, Any]], None],
        extra: dict[str, Any],
        before: Sequence[dict[str, Any]] = (),
        trained_on: TrainedOn | None = None,
    ) -> None:
        self.folder = folder
        self.measures = measures
        self.patience = patience
        self.tell = tell
        self.extra = extra
        self.trained_on = trained_on
        self.keeper = Keeper(list(before))
        self.begin = 0.0
        self.rate = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far."""
        return {"lines": self.keeper.lines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the epochs of a checkpoint."""
        self.keeper = Keeper(list(state_dict["lines"]))
        if distributed.is_main():
            write_lines(self.folder, self.keeper.lines)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Put in what the weights learned from."""
        if self.trained_on is not None:
            checkpoint[TRAINED_ON] = self.trained_on.to_content()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Stop at once a run that was killed after its patience had run out."""
        trainer.should_stop = self.lost_patience()

    def lost_patience(self) -> bool:
        """Whether the best epoch is ``patience`` epochs ago."""
        return self.patience is not None and self.keeper.waited() >= self.patience

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Start the clock, and note the learning rate of the first step (after the last it is the next epoch's)."""
        self.begin = time.perf_counter()
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, write, keep, and stop where patience has run out."""
        seconds = time.perf_counter() - self.begin
        line: dict[str, Any] = {
            **self.extra,
            "epoch": trainer.current_epoch,
            "learning_rate": self.rate,
            "train": pl_module.seen.take(),
            **{name: measure() for name, measure in self.measures.items()},
            "seconds": seconds,
        }
        better = self.keeper.add(line)
        for name, side in line.items():
            if isinstance(side, dict):
                pl_module.log_dict({f"{name}/{key}": value for key, value in side.items()}, rank_zero_only=True)
        trainer.should_stop = self.lost_patience()
        if distributed.is_main():
            write_lines(self.folder, self.keeper.lines)
        for name in ("best", "last") if better else ("last",):
            trainer.save_checkpoint(self.folder / "checkpoints" / f"{name}.ckpt")  # of all processes; the first writes
        self.tell(line)


def write_lines(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write ``metrics.jsonl``: one line an epoch."""
    write_atomic(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a run or fold; none where nothing was trained."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
