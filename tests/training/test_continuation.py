"""A training that stopped before some epoch and is continued ends as one that did not, bit for bit."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.training import Sides, fit
from snn_action.training.checkpoints import read_checkpoint
from snn_action.training.clips import EpochSampler
from snn_action.training.history import EpochRecorder

MODELS = {
    "lstm": {"type": "lstm", "units": 4, "layers": 2, "readout_units": 4, "dropout": 0.3},
    **{
        gradient: {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 5, "gradient": gradient, "dropout": 0.2}
        for gradient in ("rate", "spike_aware", "surrogate")
    },
}


class Stopped(Exception):  # noqa: N818
    pass


@contextmanager
def stopping_before(epoch: int):
    """Training stops when this epoch begins; it is an error where it does not come to that."""
    begin = EpochSampler.set_epoch

    def begin_or_stop(self, beginning):
        if beginning == epoch:
            raise Stopped
        begin(self, beginning)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochSampler, "set_epoch", begin_or_stop)
        with pytest.raises(Stopped):
            yield


def lines_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def state_of(folder: Path, name: str) -> dict:
    """A checkpoint's weights, optimizer and gradient scaler."""
    content = read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
    keys = "state_dict", "optimizer_states", "gradient_scaler", "epoch", "unrounded"
    return {key: content.get(key) for key in keys}


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


CASES = [
    (None, {"warmup_epochs": 2}, "32"),
    (None, {"optimizer": "adam", "weight_decay": 0.01, "gradient_clip": 0.1}, "32"),
    (None, {"shuffle": False, "schedule": "constant"}, "32"),
    (None, {"workers": 1}, "32"),
    (None, {"initial_accuracy": True, "loss": {"timestep": 0.5, "clip": 1.0}, "label_smoothing": 0.1}, "32"),
    (None, {}, "bf16"),
    (None, {"weight_bits": 3}, "32"),
    ("lstm", {"weight_bits": 4, "gradient_clip": 0.1}, "bf16"),
    ("lstm", {}, "32"),
    ("rate", {}, "32"),
    ("spike_aware", {}, "32"),
    ("surrogate", {}, "32"),
]


@pytest.mark.parametrize(("model", "extra", "precision"), CASES, ids=str)
def test_weights_optimizer_and_lines_are_those_of_an_uninterrupted_training(
    tmp_path, train, settings, model, extra, precision
):
    config = settings(MODELS.get(model), precision=precision, epochs=4, **extra)
    whole = train(tmp_path / "whole", config)
    for epoch in (1, 3):  # the second stop falls into a training that was continued itself
        with stopping_before(epoch):
            train(tmp_path / "cut", config)
        assert [line["epoch"] for line in lines_of(tmp_path / "cut") if line["epoch"] >= 0] == list(range(epoch))
    cut = train(tmp_path / "cut", config)
    assert_same(dict(whole.state_dict()), dict(cut.state_dict()))
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "cut")
    for name in ("last", "best"):
        assert_same(state_of(tmp_path / "whole", name), state_of(tmp_path / "cut", name))


@pytest.mark.parametrize("gradient", ["rate", "spike_aware", "surrogate"])
def test_models_that_spike_learn_in_every_gradient_mode(tmp_path, train, settings, gradient):
    config = settings(MODELS[gradient], epochs=15, feature_noise=0.0, learning_rate=0.02)
    model = train(tmp_path, config, Sides(range(40)))
    losses = [line["train"]["loss"] for line in lines_of(tmp_path)]
    assert losses[-1] < 0.9 * losses[0]
    assert model.training
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_a_continued_training_needs_its_first_weights_no_more(tmp_path, train, settings):
    train(tmp_path / "first", settings(epochs=1))
    given = tmp_path / "first" / "checkpoints" / "best.ckpt"
    config = settings(epochs=3, weights=str(given))
    whole = train(tmp_path / "whole", config)
    with stopping_before(2):
        train(tmp_path / "cut", config)
    given.unlink()
    assert_same(dict(whole.state_dict()), dict(train(tmp_path / "cut", config).state_dict()))


def test_a_broken_last_checkpoint_is_named(tmp_path, train, settings):
    with stopping_before(1):
        train(tmp_path, settings())
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"last\.ckpt: not a checkpoint"):
        train(tmp_path, settings())


def test_nothing_but_weights_is_read(tmp_path, train, settings, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with stopping_before(1):
        train(tmp_path, settings())
    asked, load = [], torch.load

    def note(*arguments, **options):
        asked.append(options.get("weights_only"))
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", note)
    train(tmp_path, settings())
    assert len(asked) == 2  # the last epoch, and in the end the best one
    assert all(answer is True for answer in asked)


def test_a_finished_training_is_only_read(tmp_path, train, settings, monkeypatch):
    whole = train(tmp_path, settings())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr(EpochRecorder, "__init__", None)
    again = train(tmp_path, settings())
    assert_same(dict(whole.state_dict()), dict(again.state_dict()))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_process_killed_after_the_last_epoch_has_nothing_left_to_train(tmp_path, train, settings, monkeypatch):
    whole = train(tmp_path, settings())
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "trained").unlink()
    (tmp_path / "metrics.jsonl").unlink()
    monkeypatch.setattr(EpochSampler, "set_epoch", None)
    again = train(tmp_path, settings())
    assert_same(dict(whole.state_dict()), dict(again.state_dict()))
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines
    assert (tmp_path / "trained").exists()


def as_lightning_wrote_it(content: dict) -> dict:
    """A checkpoint in the form of Lightning's trainer, which trained before version 0.2."""
    lines = content["lines"]
    return {
        "epoch": content["epoch"],
        "global_step": 3 * (content["epoch"] + 1),
        "pytorch-lightning_version": "2.6.6",
        "state_dict": content["state_dict"],
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": content["epoch"]}}}},
        "callbacks": {"EpochRecorder": {"lines": lines}},
        "optimizer_states": content["optimizer_states"],
        "lr_schedulers": [{"base_lrs": [0.05], "last_epoch": 3, "_last_lr": [0.04], "lr_lambdas": [None]}],
        **({"MixedPrecision": content["gradient_scaler"]} if content["gradient_scaler"] else {}),
    }


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_a_training_that_lightnings_trainer_began_goes_on(tmp_path, train, settings, monkeypatch, precision):
    monkeypatch.setattr(fit, "check_precision", lambda _: None)
    config = settings(epochs=4, precision=precision)
    whole = train(tmp_path / "whole", config)
    with stopping_before(2):
        train(tmp_path / "cut", config)
    for name in ("best", "last"):
        path = tmp_path / "cut" / "checkpoints" / f"{name}.ckpt"
        torch.save(as_lightning_wrote_it(read_checkpoint(path)), path)
    assert_same(dict(whole.state_dict()), dict(train(tmp_path / "cut", config).state_dict()))
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "cut")
    assert_same(state_of(tmp_path / "whole", "last"), state_of(tmp_path / "cut", "last"))


def test_weights_alone_are_no_training_to_go_on_with(tmp_path, train, settings):
    with stopping_before(1):
        train(tmp_path, settings())
    last = tmp_path / "checkpoints" / "last.ckpt"
    torch.save({"state_dict": read_checkpoint(last)["state_dict"]}, last)
    with pytest.raises(ConfigError, match=r"last\.ckpt: holds weights, but no training to go on with; remove it"):
        train(tmp_path, settings())


@pytest.mark.parametrize("extra", [{}, {"gradient_clip": 0.1}], ids=str)
def test_scaled_gradients_give_the_weights_of_plain_ones_and_go_on_from_their_scale(
    tmp_path, train, settings, extra, monkeypatch
):
    monkeypatch.setattr(fit, "check_precision", lambda _: None)  # half precision is for GPUs; slow, it works here too
    config = settings(precision="16", epochs=4, **extra)
    whole = train(tmp_path / "whole", config)
    with stopping_before(2):
        train(tmp_path / "cut", config)
    assert_same(dict(whole.state_dict()), dict(train(tmp_path / "cut", config).state_dict()))
    found, wanted = (state_of(tmp_path / name, "last") for name in ("cut", "whole"))
    assert wanted["gradient_scaler"]["_growth_tracker"] == 4 * 3  # steps, none of which overflowed
    assert_same(found, wanted)
    plain = train(tmp_path / "plain", settings(epochs=4, **extra))
    torch.testing.assert_close(whole.readout.weight, plain.readout.weight, atol=0.05, rtol=0.1)


def test_a_step_whose_gradients_overflow_is_left_out(tmp_path, train, settings, monkeypatch):
    monkeypatch.setattr(fit, "check_precision", lambda _: None)
    infinite = torch.amp.GradScaler.scale
    scaled = []

    def overflow_once(self, loss):
        scaled.append(loss)
        return infinite(self, loss) * (float("inf") if len(scaled) == 1 else 1.0)

    monkeypatch.setattr(torch.amp.GradScaler, "scale", overflow_once)
    model = train(tmp_path, settings(precision="16", epochs=2, gradient_clip=0.1))
    scaler = state_of(tmp_path, "last")["gradient_scaler"]
    assert (len(scaled), scaler["_growth_tracker"], scaler["scale"]) == (6, 5, 2.0**15)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
