import gc
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from snn_action.core.errors import ConfigError, WorkError
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import build_model
from snn_action.training import Sides
from snn_action.training.checkpoints import read_checkpoint
from snn_action.training.objective import Objective


def lines_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("seconds", 0.0) >= 0 for line in lines)
    return lines


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return {key.removeprefix("model."): value for key, value in read_checkpoint(path)["state_dict"].items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns_and_says_so(tmp_path, train, settings):
    train(tmp_path, settings(epochs=12, feature_noise=0.0), Sides(range(40)))
    lines = lines_of(tmp_path)
    assert [line["epoch"] for line in lines] == list(range(12))
    assert lines[-1]["train"]["loss"] < 0.8 * lines[0]["train"]["loss"]
    assert lines[-1]["train"]["clip"] > lines[0]["train"]["clip"]
    assert all(set(line) == {"epoch", "learning_rate", "train"} for line in lines)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, train, settings):
    config = settings()
    a, b = train(tmp_path / "a", config), train(tmp_path / "b", config)
    c = train(tmp_path / "c", config.model_copy(update={"seed": 1}))
    assert equal(a.state_dict(), b.state_dict())
    assert not equal(a.state_dict(), c.state_dict())
    assert lines_of(tmp_path / "a") == lines_of(tmp_path / "b")


def test_the_global_generator_is_left_alone_and_does_not_matter(tmp_path, train, settings):
    torch.manual_seed(5)
    a = train(tmp_path / "a", settings())
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    assert equal(a.state_dict(), train(tmp_path / "b", settings()).state_dict())


def test_a_finished_fold_keeps_no_optimizer_in_memory(tmp_path, train, settings):
    gc.collect()  # what other tests left
    gc.disable()  # or Python may collect by chance what the fold should give back itself
    try:
        train(tmp_path, settings())
        assert not [thing for thing in gc.get_objects() if issubclass(type(thing), torch.optim.Optimizer)]
    finally:
        gc.enable()


@pytest.mark.parametrize("extra", [{"workers": 1}, {"pin_memory": True}])
def test_how_batches_are_loaded_changes_nothing(tmp_path, train, settings, extra):
    a = train(tmp_path / "a", settings(epochs=2))
    assert equal(a.state_dict(), train(tmp_path / "b", settings(epochs=2, **extra)).state_dict())


@pytest.mark.parametrize(
    "extra",
    [
        {"optimizer": "adam"},
        {"weight_decay": 0.5},
        {"schedule": "constant"},
        {"warmup_epochs": 1},
        {"loss": {"timestep": 0.0, "clip": 1.0}},
        {"label_smoothing": 0.2},
        {"feature_noise": 0.0},
        {"gradient_clip": 0.01},
        {"shuffle": False},
        {"batch_size": 5},
    ],
    ids=str,
)
def test_every_setting_takes_part(tmp_path, train, settings, extra):
    plain = train(tmp_path / "a", settings(epochs=2, weight_decay=0.01 if extra == {"optimizer": "adam"} else 0.0))
    other = {"weight_decay": 0.01, **extra} if extra == {"optimizer": "adam"} else extra
    changed = train(tmp_path / "b", settings(epochs=2, **other))
    assert not equal(plain.state_dict(), changed.state_dict())


def test_the_epoch_of_least_validation_loss_is_kept(tmp_path, train, settings):
    model = train(tmp_path, settings(epochs=10, schedule="constant"))
    losses = [line["validation"]["loss"] for line in lines_of(tmp_path)]
    best = int(np.argmin(losses))
    assert 0 < best < 9  # else this test shows nothing
    shorter = train(tmp_path / "shorter", settings(epochs=best + 1, schedule="constant"))
    assert equal(model.state_dict(), shorter.state_dict())
    assert not equal(model.state_dict(), weights_of(tmp_path / "checkpoints" / "last.ckpt"))


def test_without_validation_the_last_epoch_counts(tmp_path, train, settings):
    model = train(tmp_path, settings(epochs=10, schedule="constant"), Sides(range(24), (), range(32, 40)))
    assert equal(model.state_dict(), weights_of(tmp_path / "checkpoints" / "last.ckpt"))
    assert "validation" not in lines_of(tmp_path)[0]


def test_test_clips_are_drawn_and_never_chosen_by(tmp_path, train, settings):
    config = settings(epochs=5, schedule="constant", patience=2)
    a = train(tmp_path / "a", config, Sides(range(24), range(24, 32), range(32, 40)))
    b = train(tmp_path / "b", config, Sides(range(24), range(24, 32)))
    assert equal(a.state_dict(), b.state_dict())
    lines = lines_of(tmp_path / "a")
    assert all(set(line.pop("test")) == {"loss", "timestep", "last", "clip", "video"} for line in lines)
    assert lines == lines_of(tmp_path / "b")


def test_patience_stops_and_a_finished_run_is_not_trained_on(tmp_path, train, settings):
    config = settings(epochs=40, schedule="constant", patience=2)
    model = train(tmp_path, config)
    lines = lines_of(tmp_path)
    best = int(np.argmin([line["validation"]["loss"] for line in lines]))
    assert len(lines) == best + 3 < 40
    (tmp_path / "trained").unlink()  # killed after the last epoch, before it was said to be the last
    again = train(tmp_path, config)
    assert lines_of(tmp_path) == lines
    assert equal(model.state_dict(), again.state_dict())


def test_standardization_sees_training_clips_only(tmp_path, train, settings, features):
    model = train(tmp_path, settings(epochs=1), features=features)
    x, mask = features.read(range(24))
    torch.testing.assert_close(model.standardizer.mean, x[mask].mean(0))


def test_initial_accuracy_is_measured_before_training(tmp_path, train, settings):
    train(tmp_path, settings(epochs=1, initial_accuracy=True))
    first, second = lines_of(tmp_path)
    assert (first["epoch"], second["epoch"]) == (-1, 0)
    assert first["test"]["loss"] != second["test"]["loss"]


@pytest.mark.parametrize("validation", [(), range(24, 32)])
def test_a_model_in_closed_form_is_fitted_at_once(tmp_path, train, settings, features, validation):
    model = train(tmp_path, settings({"type": "mean_pool"}), Sides(range(24), validation, range(32, 40)))
    wanted = build_model({"type": "mean_pool"}, 5, 3)
    sides = [
        (*features.read(clips), torch.from_numpy(features.label[list(clips)]))
        for clips in (range(24), validation)
        if len(clips)
    ]
    wanted.fit(*sides[0], validation=sides[1] if len(sides) > 1 else None)
    assert equal(model.state_dict(), wanted.state_dict())
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert len(lines_of(tmp_path)) == 1


def test_given_weights_are_the_start_and_may_be_all(tmp_path, train, settings):
    first = train(tmp_path / "a", settings(epochs=1))
    given = str(tmp_path / "a" / "checkpoints" / "best.ckpt")
    assert equal(first.state_dict(), train(tmp_path / "b", settings(weights=given, skip=True)).state_dict())
    assert equal(first.state_dict(), train(tmp_path / "c", settings(weights=given, epochs=0)).state_dict())
    assert not equal(first.state_dict(), train(tmp_path / "d", settings(weights=given, epochs=1)).state_dict())


def test_wrong_wishes_name_their_key(tmp_path, train, settings):
    with pytest.raises(ConfigError, match=r"training\.weights"):
        train(tmp_path / "a", settings(skip=True))
    with pytest.raises(ConfigError, match=r"nowhere\.ckpt"):
        train(tmp_path / "b", settings(weights="nowhere.ckpt"))
    with pytest.raises(ConfigError, match="precision: '16' needs a GPU"):
        train(tmp_path / "c", settings(precision="16"))
    with pytest.raises(ConfigError, match="no clip"):
        train(tmp_path / "d", settings(), Sides(()))


def test_diverged_training_says_what_to_change(tmp_path, train, settings):
    with pytest.raises(WorkError, match=r"loss is nan in epoch 0: lower training\.learning_rate"):
        train(tmp_path, settings(learning_rate=1e38))


def test_bf16_computes_otherwise_and_keeps_single_precision_weights(tmp_path, train, settings):
    full = train(tmp_path / "a", settings(epochs=1))
    half = train(tmp_path / "b", settings(epochs=1, precision="bf16"))
    assert not equal(full.state_dict(), half.state_dict())
    assert {value.dtype for value in half.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(full.readout.weight, half.readout.weight, atol=0.05, rtol=0.1)


def test_a_long_clip_set_is_read_in_batches(tmp_path, train, settings, monkeypatch):
    sizes = []
    read = FeatureSet.read
    monkeypatch.setattr(FeatureSet, "read", lambda self, clips: sizes.append(len(clips)) or read(self, clips))
    train(tmp_path, settings(epochs=1))
    assert sizes == [24, 8, 8, 8, 8, 8]  # standardization, three batches, validation, test


def test_control_c_is_an_interrupt_and_the_run_can_go_on(tmp_path, train, settings, monkeypatch):
    before = signal.signal(signal.SIGINT, handler := signal.default_int_handler)  # ignored in a shell's background
    forward = Objective.forward

    def interrupt(
        *arguments: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # in an epoch, once there is one to go on from
        if (tmp_path / "metrics.jsonl").exists():
            os.kill(os.getpid(), signal.SIGINT)
        return forward(*arguments)

    monkeypatch.setattr(Objective, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, settings(epochs=10_000))
    monkeypatch.undo()
    assert signal.signal(signal.SIGINT, before) is handler
    assert not (tmp_path / "trained").exists()
    done = len(lines_of(tmp_path))
    train(tmp_path, settings(epochs=done + 1))
    assert [line["epoch"] for line in lines_of(tmp_path)] == list(range(done + 1))


def test_nothing_is_said_unasked(tmp_path, train, settings, capfd, caplog):
    with caplog.at_level("INFO"):
        train(tmp_path, settings(epochs=1))
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("lightning")] == []


def test_a_model_in_closed_form_has_no_start(tmp_path, train, settings):
    average = {"type": "mean_pool"}
    first = train(tmp_path / "a", settings(average))
    given = str(tmp_path / "a" / "checkpoints" / "last.ckpt")
    with pytest.raises(ConfigError, match=r"training\.weights.*training\.skip"):
        train(tmp_path / "b", settings(average, weights=given))
    assert equal(first.state_dict(), train(tmp_path / "c", settings(average, weights=given, skip=True)).state_dict())


def test_what_is_chosen_on_validation_clips_is_kept_with_the_weights(tmp_path, train, settings):
    """A model per stream, the second of noise; killed before training was called done, it ends with equal weights."""
    generator = torch.Generator().manual_seed(1)
    label = np.arange(40) % 3
    told = torch.from_numpy(label).repeat_interleave(7).unsqueeze(1) * torch.tensor([1.0, -1.0])
    rows = torch.cat(
        [told + 0.5 * torch.randn(280, 2, generator=generator), torch.randn(280, 2, generator=generator)], 1
    )
    stream = StreamRows((rows,), np.zeros(40, np.int64), np.arange(40) * 7)
    features = FeatureSet(np.arange(40), label, np.full(40, 7), (stream,))
    head = {"type": "lmu", "units": 6, "order": 2, "theta": 7.0, "memory_d": 2, "readout": "logistic"}
    config = settings({"type": "late_fusion", "model": head}, epochs=2, feature_noise=0.0)
    sides = Sides(range(20), range(20, 40))
    model = train(tmp_path, config, sides, features)
    kept = weights_of(tmp_path / "checkpoints" / "best.ckpt")
    assert kept["weights"][0] > 0.7
    assert equal(kept, dict(model.state_dict()))
    (tmp_path / "trained").unlink()
    again = train(tmp_path, config, sides, features)
    assert equal(kept, dict(again.state_dict()))
    assert equal(kept, weights_of(tmp_path / "checkpoints" / "best.ckpt"))
