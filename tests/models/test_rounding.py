"""Rounding of matrices against a plain loop, what is rounded, and the gradient that passes through."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.models.rounding import find_matrices, round_matrices, round_matrix, rounded

LMU = {"type": "lmu", "units": 6, "order": 2, "memory_d": 3, "dropout": 0.0}


def round_by_loop(weight: torch.Tensor, bits: int) -> list[list[float]]:
    """The formula in Python's numbers, weight by weight."""
    found = []
    for row in weight.double().tolist():
        scale = max(map(abs, row)) / (2 ** (bits - 1) - 1)
        found.append([scale * round(value / scale) if scale else 0.0 for value in row])
    return found


@given(st.integers(2, 8), st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 9))
def test_each_row_is_rounded_to_whole_numbers_of_its_own_scale(bits, seed, rows, columns):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    weight[0] *= 1000
    found = round_matrix(weight, bits)
    expected = torch.tensor(round_by_loop(weight, bits), dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.abs().amax(1), weight.abs().amax(1))
    assert all(len(row.unique()) <= 2**bits - 1 for row in found)
    torch.testing.assert_close(round_matrix(found, bits), found)  # what is rounded stays


@pytest.mark.parametrize("bits", [2, 8])
def test_a_row_of_zeros_stays_and_opposite_weights_stay_opposite(bits):
    weight = torch.tensor([[0.0, 0.0], [0.31, -0.31], [-0.0, 7.0]])
    found = round_matrix(weight, bits)
    assert torch.equal(found[0], torch.zeros(2))
    assert found[1, 0] == -found[1, 1]
    assert torch.allclose(found[2], weight[2])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (LMU, {"encoder", "memory_kernel", "readout"}),
        ({**LMU, "type": "spiking_lmu", "spiking_memory": True}, {"encoder", "memory_kernel", "readout"}),
        ({"type": "stacked_lmu", "units": 4, "memory_d": 2, "layers": 1}, None),
        ({"type": "late_fusion", "streams": 2, "model": LMU}, None),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_matrices_are_the_weights_of_all_linear_layers(model, expected):
    built = build_model(model, 4, 3, seed=0)
    found = find_matrices(built)
    linear = {name for name, layer in built.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert found.keys() == {f"{name}.weight" for name in (expected or linear)}
    assert all(weight is built.get_parameter(name) for name, weight in found.items())


def test_matrices_of_lstm_layers_are_found_and_biases_are_not():
    built = build_model({"type": "lstm", "units": 4, "layers": 2, "readout_units": 3}, 5, 3, seed=0)
    layers = {f"lstm.weight_{kind}_l{layer}" for kind in ("ih", "hh") for layer in (0, 1)}
    assert find_matrices(built).keys() == layers | {"fc.weight", "readout.weight"}


def test_of_an_end_to_end_model_only_the_temporal_model_is_rounded():
    built = build_model({"type": "end_to_end", "train_from": "head", "head": [5], "model": LMU}, 4, 3, seed=0)
    before = built.head[0].weight.clone()
    assert find_matrices(built).keys() == {f"model.{name}.weight" for name in ("encoder", "memory_kernel", "readout")}
    round_matrices(built, 3)
    assert torch.equal(built.head[0].weight, before)
    assert torch.equal(built.model.readout.weight, round_matrix(built.model.readout.weight, 3))


def test_a_model_without_matrices_is_an_error():
    with pytest.raises(ConfigError, match="MeanPool has no matrices"):
        find_matrices(build_model({"type": "mean_pool"}, 4, 3))


def test_the_gradient_by_rounded_weights_is_that_of_the_weights_themselves():
    model = build_model(LMU, 4, 3, seed=0)
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with rounded(model, 3) as kept:
        inside = {name: value.clone() for name, value in model.state_dict().items()}
        model(x)[0].square().sum().backward()
    assert all(torch.equal(kept[name], before[name]) for name in find_matrices(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    other = build_model(LMU, 4, 3, seed=0)
    other.load_state_dict(inside)
    assert all(torch.equal(inside[name], round_matrix(before[name], 3)) for name in find_matrices(model))
    other(x)[0].square().sum().backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None)
        assert one.grad is None or torch.equal(one.grad, two.grad)


def test_weights_are_put_back_after_an_error_and_null_changes_nothing():
    model = build_model(LMU, 4, 3, seed=0)
    before = model.readout.weight.clone()
    with pytest.raises(RuntimeError, match="inside"), rounded(model, 2):
        raise RuntimeError("inside")
    assert torch.equal(model.readout.weight, before)
    version = model.readout.weight._version
    with rounded(model, None) as kept:
        assert kept == {}
        assert model.readout.weight._version == version


def test_a_choice_of_values_sees_that_weights_were_rounded():
    """``selection`` knows weights of one value a row by their version."""
    model = build_model({**LMU, "encoders": "on_off", "memory_d": 4, "units": 2**14}, 4, 3, seed=0).eval()
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.memory_kernel.weight[:, 1] += 0.2  # with two bits it is one value a row again
        model.memory_kernel.weight[1] = 0.0
        before = model(x)[0]
        with rounded(model, 2):
            inside = model(x)[0]
        assert torch.equal(model(x)[0], before)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            rounded(model, 2),
        ):  # no choice where gradients are asked for
            plain = model(x)[0].detach()
    torch.testing.assert_close(inside, plain, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(inside, before)
