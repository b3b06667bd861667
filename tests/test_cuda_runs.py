"""Runs on a GPU against runs on the CPU: training, evaluation, extraction, prediction."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from snn_action import load_run
from snn_action.config import Config, load_config
from snn_action.runs import pipeline

if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no GPU", allow_module_level=True)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def make_run(features_file, write_config):
    """The configuration of a small run on the GPU."""

    def write(**sections: Any) -> Config:
        training = {"epochs": 15, "batch_size": 16, "learning_rate": 0.02}
        given = {"device": "cuda", "training": training, **sections}
        return load_config(write_config({"type": "features", "path": str(features_file)}, **given))

    return write


SPIKING = {"type": "spiking_lmu", "units": 32, "order": 2, "theta": 6.0, "memory_d": 3, "max_rates": (400.0, 800.0)}
ARRAY = {"type": "ensemble_array", "n_ensembles": 10, "n_neurons": 8}
RECURRENT = {"type": "lstm", "units": 32, "layers": 1, "readout_units": 32}
LMU = {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3, "dropout": 0.2, "readout": "logistic"}


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
@pytest.mark.parametrize("model", [LMU, SPIKING, ARRAY, RECURRENT], ids=lambda model: model["type"])
def test_training_reaches_what_the_cpu_does(make_run, model, precision):
    on_cpu = pipeline.run(make_run(model=model, device="cpu"), run_id="cpu").metrics["accuracy"]["video"]
    on_gpu = pipeline.run(make_run(model=model, precision=precision), run_id="gpu").metrics["accuracy"]["video"]
    assert on_cpu > 0.6
    assert abs(on_gpu - on_cpu) < 0.2


def predictions(folder: Path) -> list[tuple[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return [(row["video"], row["predicted"]) for row in csv.DictReader(file)]


def test_weights_of_the_gpu_say_the_same_on_the_cpu(make_run):
    folder = pipeline.run(make_run(), run_id="one").folder
    before = predictions(folder)
    pipeline.evaluate(folder, ["device=cpu"])
    assert predictions(folder) == before


def test_a_run_that_was_cut_goes_on(make_run, monkeypatch):
    whole, config = pipeline.run(make_run(), run_id="whole"), make_run()
    measure, calls = pipeline.measure_loss, []

    def stop(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise OSError("cut")
        return measure(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "measure_loss", stop)
        with pytest.raises(OSError, match="cut"):
            pipeline.run(config, run_id="cut")
    resumed = pipeline.resume(config.save_dir / "test" / "cut")
    first, second = (
        [json.loads(line)["validation"]["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, resumed)
    )
    assert second == pytest.approx(first, rel=1e-3)
    assert resumed.metrics["accuracy"] == pytest.approx(whole.metrics["accuracy"], abs=1e-6)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_the_demo_runs_on_the_gpu(command, tmp_path, precision):
    words = {
        "device": "cuda",
        "save_dir": tmp_path / "save",
        "dataset.path": tmp_path / "videos",
        "dataset.groups": 8,
        "dataset.clips_per_group": 1,
        "features.store": tmp_path / "store",
        "backbone.precision": f'"{precision}"',
        "training.epochs": 10,
    }
    overrides = [word for key, value in words.items() for word in ("-o", f"{key}={value}")]
    code, out, err = command("run", "-c", ROOT / "configs" / "config.json", *overrides)
    assert code == 0, err
    assert "video accuracy" in out
    (metrics,) = (tmp_path / "save" / "demo").glob("*/metrics.json")
    assert json.loads(metrics.read_text())["accuracy"]["video"] > 0.25  # of twelve classes
    run = load_run(metrics.parent)
    assert run.device.type == "cuda"
    video = next((tmp_path / "videos").rglob("*.avi"))
    found, wanted = (load_run(metrics.parent, device=device).predict(video) for device in ("cuda", "cpu"))
    assert abs(found.probabilities - wanted.probabilities).max() < (1e-3 if precision == "32" else 0.1)
