"""Training that is aware of few bits: against a loop of PyTorch's own parts, and what checkpoints hold."""

import copy

import pytest
import torch

from snn_action.config import LossSettings, make_config
from snn_action.core.errors import ConfigError
from snn_action.core.settings import SettingsError
from snn_action.evaluation import measure_loss, predict_clips
from snn_action.models import build_model
from snn_action.models.rounding import find_matrices, round_matrices, round_matrix
from snn_action.training import Sides, check_training
from snn_action.training.checkpoints import UNROUNDED, read_checkpoint, read_training_state
from snn_action.training.loss import sequence_loss

LMU = {"type": "lmu", "units": 6, "order": 2, "theta": 5.0, "memory_d": 3, "dropout": 0.0}
SOLVED = {**LMU, "activation": "relu", "encoders": "on_off", "memory_d": 5, "units": 20, "readout": "least_squares"}
PLAIN = {"feature_noise": 0.0, "shuffle": False, "schedule": "constant", "learning_rate": 0.03, "batch_size": 8}


def content_of(folder, name="best"):
    return read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")


def read_unrounded(folder, name="last"):
    return {key.removeprefix("model."): value for key, value in content_of(folder, name)[UNROUNDED].items()}


def round_by_hand(weight, bits):
    most = 2 ** (bits - 1) - 1
    scale = weight.abs().max(1, keepdim=True).values / most
    return torch.clamp(torch.round(weight / scale), -most, most) * scale


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_training_is_that_of_a_plain_loop_with_rounded_copies(tmp_path, train, settings, features, bits):
    config = settings(LMU, epochs=2, weight_bits=bits, weight_decay=0.01, **PLAIN)
    trained = train(tmp_path, config, Sides(range(24)))

    own = build_model(config.model, features.dim, 3, seed=0)  # holds the weights before they are rounded
    names = [f"{name}.weight" for name in ("encoder", "memory_kernel", "readout")]
    with torch.no_grad():
        for name in names:
            own.get_parameter(name).copy_(round_by_hand(own.get_parameter(name), bits))  # nothing was solved
    inputs, mask = features.read(range(24))
    labels = torch.from_numpy(features.label[:24])
    own.prepare(inputs, mask, labels)
    optimizer = torch.optim.AdamW(own.parameters(), lr=0.03, weight_decay=0.01)
    for _ in range(2):
        for batch in torch.arange(24).split(8):
            other = copy.deepcopy(own).train()
            with torch.no_grad():
                for name in names:
                    other.get_parameter(name).copy_(round_by_hand(own.get_parameter(name), bits))
            logits, _ = other(inputs[batch], mask=mask[batch])
            sequence_loss(logits, mask[batch], labels[batch], LossSettings()).backward()
            for one, two in zip(own.parameters(), other.parameters(), strict=True):
                one.grad = two.grad
            optimizer.step()
    unrounded = read_unrounded(tmp_path)
    assert unrounded.keys() == set(names)
    for name, value in own.named_parameters():
        expected = round_by_hand(value.detach(), bits) if name in names else value.detach()
        torch.testing.assert_close(trained.get_parameter(name).detach(), expected, rtol=1e-4, atol=1e-5)
        if name in names:
            torch.testing.assert_close(unrounded[name], value.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoints_hold_rounded_weights_and_those_that_training_goes_on_from(tmp_path, train, settings, name):
    model = train(tmp_path, settings(LMU, epochs=2, weight_bits=3))
    content = content_of(tmp_path, name)
    assert content[UNROUNDED].keys() == {f"model.{key}" for key in find_matrices(model)}
    for key, kept in content[UNROUNDED].items():
        assert torch.equal(content["state_dict"][key], round_matrix(kept, 3))
        assert not torch.equal(content["state_dict"][key], kept)
    state = read_training_state(model, tmp_path / "checkpoints" / f"{name}.ckpt")
    assert all(torch.equal(state.weights[key.removeprefix("model.")], kept) for key, kept in content[UNROUNDED].items())
    best = content_of(tmp_path)["state_dict"]
    assert all(torch.equal(value, best[f"model.{key}"]) for key, value in model.state_dict().items())


def test_what_is_measured_after_an_epoch_is_the_rounded_model(tmp_path, train, settings, features):
    model = train(tmp_path, settings(LMU, epochs=1, weight_bits=2), Sides(range(24), range(24, 32)))
    expected = measure_loss(predict_clips(model, features, range(24, 32), 16))
    found = content_of(tmp_path)["lines"][0]["validation"]
    assert found == pytest.approx(expected, rel=1e-6)


def test_without_training_a_readout_is_solved_for_rounded_units_and_rounded(tmp_path, train, settings, features):
    config = settings(SOLVED, epochs=0, weight_bits=3)
    model = train(tmp_path, config, Sides(range(24)))
    own = build_model(config.model, features.dim, 3, seed=0)
    inputs, mask = features.read(range(24))
    round_matrices(own, 3)
    own.prepare(inputs, mask, torch.from_numpy(features.label[:24]))
    torch.testing.assert_close(model.readout.weight, round_matrix(own.readout.weight, 3))
    assert UNROUNDED not in content_of(tmp_path)


def test_training_begins_at_the_solved_readout_itself(tmp_path, train, settings, features):
    config = settings(SOLVED, epochs=1, weight_bits=3, **PLAIN | {"learning_rate": 1e-9})
    train(tmp_path, config, Sides(range(24)))
    own = build_model(config.model, features.dim, 3, seed=0)
    own.prepare(*features.read(range(24)), torch.from_numpy(features.label[:24]))
    torch.testing.assert_close(read_unrounded(tmp_path)["readout.weight"], own.readout.weight.detach())


def test_given_weights_are_rounded_where_nothing_is_trained_and_kept_as_a_start(tmp_path, train, settings):
    first = train(tmp_path / "first", settings(LMU, epochs=1))
    given = str(tmp_path / "first" / "checkpoints" / "best.ckpt")
    tested = train(tmp_path / "tested", settings(LMU, weights=given, skip=True, weight_bits=4))
    for name, weight in find_matrices(first).items():
        assert torch.equal(tested.get_parameter(name), round_matrix(weight, 4))
    train(tmp_path / "on", settings(LMU, epochs=1, weights=given, weight_bits=4, learning_rate=1e-9))
    for name, weight in find_matrices(first).items():
        torch.testing.assert_close(read_unrounded(tmp_path / "on")[name], weight.detach())


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "text",
        lambda _: {1: torch.zeros(1)},
        lambda kept: {**kept, "model.readout.weight": torch.zeros(2, 2)},
        lambda kept: {**kept, "model.other.weight": torch.zeros(2, 2)},
        lambda kept: {**kept, "model.readout.weight": "text"},
    ],
)
def test_unrounded_weights_of_a_stranger_are_an_error(tmp_path, train, settings, change):
    model = train(tmp_path, settings(LMU, epochs=1, weight_bits=4))
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = content_of(tmp_path, "last")
    torch.save({**content, UNROUNDED: change(content[UNROUNDED])}, path)
    with pytest.raises(ConfigError, match=r"last\.ckpt"):
        read_training_state(model, path)


@pytest.mark.parametrize("bits", [1, 9, 2.5])
def test_bits_are_a_whole_number_from_2_to_8(settings, bits):
    with pytest.raises(SettingsError):
        settings(LMU, weight_bits=bits)


def test_a_model_without_matrices_is_an_error_that_names_the_key(settings):
    check_training(settings({"type": "mean_pool"}))
    check_training(settings(LMU, weight_bits=4))
    with pytest.raises(ConfigError, match=r"training\.weight_bits: MeanPool has no matrices"):
        check_training(settings({"type": "mean_pool"}, weight_bits=4))


def test_the_configuration_of_before_has_no_rounding():
    raw = {"name": "x", "dataset": {"type": "features", "path": "x"}, "model": LMU}
    assert make_config(raw).training.weight_bits is None
