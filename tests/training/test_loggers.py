"""Curves by Lightning's loggers: the real ones for CSV and TensorBoard, a fake for those that need a server."""

import csv
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from snn_action.config import TrainingSettings
from snn_action.core import compat
from snn_action.core.errors import ConfigError
from snn_action.training.clips import EpochSampler


class FakeLogger:
    """Notes what it is told, as the loggers of Weights & Biases and MLflow are."""

    made: ClassVar[list["FakeLogger"]] = []

    def __init__(self, *words: object, **options: object) -> None:
        self.words = words
        self.options = options
        self.config: dict = {}
        self.curves: list[tuple[int, dict]] = []
        self.ended: list[str] = []
        self.experiment = self
        FakeLogger.made.append(self)

    def log_hyperparams(self, config: dict) -> None:
        self.config = config

    def log_metrics(self, curves: dict, step: int) -> None:
        self.curves.append((step, curves))

    def finalize(self, status: str) -> None:
        self.ended.append(status)

    def finish(self) -> None:
        self.ended.append("finished")


@pytest.fixture
def fakes(monkeypatch):
    """As if both packages were installed; the loggers that were made."""

    class Loggers:
        WandbLogger = MLFlowLogger = FakeLogger

    class Library:
        loggers = Loggers

    monkeypatch.setattr(compat, "pytorch_lightning", Library, raising=False)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1" if name in ("wandb", "mlflow") else version(name)
    )
    monkeypatch.setattr(FakeLogger, "made", [])
    return FakeLogger.made


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curves_of(line: dict) -> dict[str, float]:
    sides = {side: values for side, values in line.items() if isinstance(values, dict)}
    curves = {f"{side}/{key}": value for side, values in sides.items() for key, value in values.items()}
    return curves | ({"learning_rate": line["learning_rate"]} if line["epoch"] >= 0 else {})


def read_csv(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "csv" / "metrics.csv").read_text().splitlines())
    return [{key: float(value) for key, value in row.items() if value} for row in rows]


def test_csv_holds_the_curves_of_every_epoch(tmp_path, train, settings):
    train(tmp_path, settings(epochs=2, loggers=["csv"], initial_accuracy=True))
    lines = lines_of(tmp_path)
    assert read_csv(tmp_path) == [{"step": line["epoch"] + 1, **curves_of(line)} for line in lines]
    assert [line["epoch"] for line in lines] == [-1, 0, 1]


def test_a_continued_training_logs_every_epoch_once(tmp_path, train, settings, monkeypatch):
    def interrupt(_: EpochSampler, epoch: int) -> None:
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(EpochSampler, "set_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, settings(epochs=4, loggers=["csv"]))
    signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    assert [row["step"] for row in read_csv(tmp_path)] == [1, 2]
    train(tmp_path, settings(epochs=4, loggers=["csv"]))
    assert read_csv(tmp_path) == [{"step": line["epoch"] + 1, **curves_of(line)} for line in lines_of(tmp_path)]


def test_tensorboard_gets_the_curves(tmp_path, train, settings):
    pytest.importorskip("tensorboard")
    train(tmp_path, settings(epochs=1, loggers=["tensorboard"]))
    (events,) = (tmp_path / "tensorboard").glob("events*")
    assert b"validation/video" in events.read_bytes()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_loggers_of_a_server_get_the_configuration_and_the_curves_and_are_closed(
    tmp_path, train, settings, fakes, name
):
    config = settings(epochs=2, loggers=[name])
    train(tmp_path, config)
    (logger,) = fakes
    assert logger.config == json.loads(config.to_json())
    assert logger.curves == [(line["epoch"] + 1, curves_of(line)) for line in lines_of(tmp_path)]
    assert logger.ended == (["finished", "success"] if name == "wandb" else ["success"])
    assert {config.name, tmp_path.as_posix()} <= {*logger.words, *logger.options.values()}


def test_a_logger_hears_that_training_failed(tmp_path, train, settings, fakes):
    with pytest.raises(Exception, match="the loss is nan"):
        train(tmp_path, settings(loggers=["mlflow"], learning_rate=1e38))
    assert [logger.ended for logger in fakes] == [["failed"]]


def test_only_the_first_of_several_processes_logs(tmp_path, settings, fakes, monkeypatch):
    from snn_action.core import distributed
    from snn_action.training.loggers import log_epochs

    monkeypatch.setattr(distributed, "is_main", lambda: False)
    with log_epochs(settings(loggers=["wandb", "csv"]), tmp_path) as log:
        log({"epoch": 0, "train": {"loss": 1.0}})
    assert not fakes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra_before_anything_is_trained(
    tmp_path, train, settings, monkeypatch, name
):
    def find(asked: str) -> str:
        raise importlib.metadata.PackageNotFoundError(asked)

    monkeypatch.setattr(importlib.metadata, "version", find)
    with pytest.raises(ConfigError, match=rf"^training\.loggers: .*{name}.*pip install 'snn-action\[{name}\]'$"):
        train(tmp_path, settings(loggers=[name]))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_switch_of_earlier_versions_is_read():
    assert TrainingSettings.model_validate({"tensorboard": True}).loggers == ["tensorboard"]
    assert TrainingSettings.model_validate({"tensorboard": False}).loggers == []
    assert TrainingSettings.model_validate({"tensorboard": True, "loggers": ["csv"]}).loggers == ["csv"]


def test_fabric_is_imported_by_a_training_alone_and_the_rest_of_lightning_where_asked_for(tmp_path):
    script = """
import sys, snn_action.runs.pipeline
from pathlib import Path

names = {"lightning_fabric", "lightning", "pytorch_lightning", "tensorboard", "wandb", "mlflow"}
print(sorted(names & set(sys.modules)))
sys.path.insert(0, sys.argv[1])
from conftest import make_settings, train_small

train_small(Path(sys.argv[2]), make_settings(epochs=1, loggers=["csv"]))
print(sorted(names & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['lightning_fabric']"]


@pytest.mark.usefixtures("fakes")
def test_a_logger_that_cannot_be_opened_says_why_in_a_line(tmp_path, train, settings, monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("no API key\nlog in first")

    monkeypatch.setattr(FakeLogger, "log_hyperparams", refuse)
    with pytest.raises(ConfigError, match=r"^training\.loggers: wandb cannot be opened: no API key$"):
        train(tmp_path, settings(loggers=["wandb"]))
