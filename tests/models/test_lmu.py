import math

import pytest
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.models.lmu import LMU
from snn_action.snn.legendre import legendre_matrices

EVERY = {"hidden_to_memory": True, "memory_to_memory": True, "hidden_recurrence": True, "input_to_hidden": True}
NONE = dict.fromkeys(EVERY, False)


def make(in_features: int = 3, classes: int = 2, seed: int | None = 0, **options) -> LMU:
    model = build_model({"type": "lmu", **options}, in_features=in_features, num_classes=classes, seed=seed)
    assert isinstance(model, LMU)
    return model.double().eval()


@pytest.mark.parametrize(("order", "theta"), [(1, 5.0), (4, 10.0), (12, 40.0)])
def test_the_matrices_solve_the_differential_equation(order, theta):
    """Many small Runge-Kutta steps of theta dm/dt = A' m + B' u over one step of constant u."""
    a, b = legendre_matrices(order, theta)
    i = range(order)
    system = torch.tensor([[(2 * r + 1) * (-1.0 if r < c else (-1.0) ** (r - c + 1)) for c in i] for r in i]) / theta
    drive = torch.tensor([(2 * r + 1) * (-1.0) ** r for r in i]) / theta
    system, drive = system.double(), drive.double()
    memory = torch.linspace(-1, 1, order, dtype=torch.float64)
    expected, h = memory, 1 / 200

    def slope(m: Tensor) -> Tensor:
        return system @ m + 0.7 * drive

    for _ in range(200):
        k1 = slope(expected)
        k2 = slope(expected + h / 2 * k1)
        k3 = slope(expected + h / 2 * k2)
        k4 = slope(expected + h * k3)
        expected = expected + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    torch.testing.assert_close(a @ memory + b * 0.7, expected, rtol=1e-6, atol=1e-6)


def test_the_memory_holds_the_last_theta_steps_as_legendre_polynomials():
    """A slow wave is read back from the coefficients: u(t - r theta) = sum_i P_i(2 r - 1) m_i."""
    theta, order = 100.0, 10
    model = make(1, order=order, theta=theta, memory_d=1, units=1, **NONE)
    with torch.no_grad():
        model.encoder.weight.fill_(1.0)
    time = torch.arange(400, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * time / 80)
    with torch.no_grad():
        _, state = model(wave.view(1, -1, 1))
    for share in (0.1, 0.5, 0.9):
        x, legendre = 2 * share - 1, [1.0, 2 * share - 1]
        for n in range(1, order - 1):
            legendre.append(((2 * n + 1) * x * legendre[n] - n * legendre[n - 1]) / (n + 1))
        read = state.memory[0, 0] @ torch.tensor(legendre, dtype=torch.float64)
        then = math.sin(2 * math.pi * (399.5 - share * theta) / 80)  # zero-order hold delays by half a step
        assert abs(float(read) - then) < 0.03


def reference(model: LMU, x: Tensor) -> Tensor:
    """The equations of the module docstring, one clip, one step and one memory at a time."""
    s = model.settings
    memory = torch.zeros(s.memory_d, s.order, dtype=torch.float64)
    hidden = torch.zeros(s.units, dtype=torch.float64)
    logits = []
    for now in x:
        u = model.encoder.weight @ now
        if model.from_hidden is not None:
            u = u + model.from_hidden.weight @ hidden
        if model.from_memory is not None:
            u = u + model.from_memory.weight @ memory.reshape(-1)
        memory = torch.stack([model.memory.A @ memory[d] + model.memory.B * u[d] for d in range(s.memory_d)])
        total = model.memory_kernel.weight @ memory.reshape(-1) + model.memory_kernel.bias
        if model.input_kernel is not None:
            total = total + model.input_kernel.weight @ now
        if model.recurrent_kernel is not None:
            total = total + model.recurrent_kernel.weight @ hidden
        hidden = total.tanh()
        logits.append(model.readout.weight @ hidden + model.readout.bias)
    return torch.stack(logits)


@pytest.mark.parametrize(
    "options",
    [EVERY, NONE, *({**NONE, key: True} for key in EVERY), *({**EVERY, key: False} for key in EVERY)],
    ids=lambda options: "-".join(key for key, value in options.items() if value) or "none",
)
def test_every_combination_of_connections_follows_the_equations(options):
    model = make(in_features=3, classes=2, units=5, order=4, theta=6.0, memory_d=2, **options)
    x = torch.randn(2, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, _ = model(x)
        for clip in range(2):
            torch.testing.assert_close(logits[clip], reference(model, x[clip]))


def test_initialization_is_that_of_keras_lmu():
    options = {**EVERY, "units": 60, "order": 5, "memory_d": 8}
    model = make(in_features=90, **options)
    for part, limit in [
        (model.encoder, math.sqrt(6 / (90 + 60 + 8))),
        (model.from_hidden, math.sqrt(6 / (90 + 60 + 8))),
        (model.memory_kernel, math.sqrt(6 / (40 + 90 + 60))),
        (model.input_kernel, math.sqrt(6 / (40 + 90 + 60))),
    ]:
        assert 0.97 * limit < part.weight.abs().max() <= limit
        assert abs(part.weight.std() - limit / math.sqrt(3)) < 0.05 * limit
    for part in (model.from_memory, model.recurrent_kernel):
        gram = part.weight @ part.weight.T
        torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-5)
    assert not model.memory_kernel.bias.any()
    assert not model.readout.bias.any()


def test_input_dropout_drops_the_same_features_in_all_steps_of_a_clip():
    model = make(40, units=3, order=2, memory_d=40, input_dropout=0.5, **{**NONE}).train()
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(40))
    torch.manual_seed(0)
    _, state = model(torch.ones(3, 6, 40, dtype=torch.float64))
    ratio = state.memory[..., 0] / model.eval()(torch.ones(1, 6, 40, dtype=torch.float64))[1].memory[..., 0]
    torch.testing.assert_close(ratio, (ratio > 1).double() * 2)  # all steps or none, scaled to keep the mean
    assert not torch.equal(ratio[0], ratio[1])


def test_input_noise_is_the_same_in_all_steps_of_a_clip():
    model = make(40, units=3, order=1, theta=1e9, memory_d=40, input_noise=0.7, **NONE).train()
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(40))
        model.memory.A.fill_(1.0)
        model.memory.B.fill_(1.0)  # the memory is the plain sum
        sums = [model(torch.zeros(200, steps, 40, dtype=torch.float64))[1].memory[..., 0] for steps in (1, 9)]
    for total, steps in zip(sums, (1, 9), strict=True):
        assert float(total.std()) == pytest.approx(0.7 * steps, rel=0.05)
        assert abs(float(total[0].mean() - total[1].mean())) > 1e-3


def test_dropout_is_off_in_evaluation():
    model = make(4, input_dropout=0.5, input_noise=1.0, dropout=0.5)
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    assert torch.equal(model(x)[0], model(x)[0])
    assert not torch.equal(model.train()(x)[0], model(x)[0])


@pytest.mark.parametrize("scaling", ["feature", "global"])
def test_scaling(scaling):
    model = make(3, scaling=scaling)
    x = torch.randn(50, 4, 3, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.0]) + 5
    mask = torch.arange(4) < torch.tensor([4, 1] * 25).unsqueeze(1)
    model.prepare(x.masked_fill(~mask.unsqueeze(-1), float("nan")), mask, torch.zeros(len(x), dtype=torch.long))
    scaled = model.standardizer(x[mask])
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-6)
    deviation = scaled.std(0, correction=0)
    if scaling == "feature":
        torch.testing.assert_close(deviation, torch.tensor([1.0, 1, 0], dtype=torch.float64))
    else:
        torch.testing.assert_close(deviation.square().mean().item(), 1.0)
        torch.testing.assert_close(deviation, x[mask].std(0, correction=0) * model.standardizer.scale[0])


@pytest.mark.parametrize(
    ("key", "value"), [("order", 0), ("theta", 0.0), ("theta", -3.0), ("units", 0), ("memory_d", 0), ("dropout", 1.0)]
)
def test_settings_out_of_range_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        make(**{key: value})


def test_unknown_keys_and_types_name_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'memory_d'"):
        make(memory_dim=3)
    with pytest.raises(ConfigError, match="did you mean 'lmu'"):
        build_model({"type": "lmuu"}, in_features=3, num_classes=2)
    with pytest.raises(ConfigError, match="which model"):
        build_model({}, in_features=3, num_classes=2)
    with pytest.raises(ValueError, match="num_classes 1"):
        build_model({"type": "lmu"}, in_features=3, num_classes=1)


OPPOSED = {"type": "lmu", "encoders": "on_off", "activation": "relu", "readout": "least_squares", "opposed": True}


def test_an_opposed_readout_reads_coefficients_whatever_the_axes_of_features():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 9, 4, generator=generator, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor([9, 4, 6] * 4).unsqueeze(1)
    turned = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    said = []
    for seen in (features, features @ turned):
        model = build_model({**OPPOSED, "memory_d": 4, "order": 2, "units": 32, "normalize": True}, 4, 3, seed=0)
        model.double().prepare(seen, mask, torch.arange(12) % 3)
        weight = model.readout.weight
        assert torch.equal(weight[:, ::2], -weight[:, 1::2])
        said.append(model.eval()(seen, mask=mask)[0][mask])
    assert float(said[0].detach().std()) > 0.01
    torch.testing.assert_close(*said)


@pytest.mark.parametrize("wrong", [{"units": 31}, {"units": 32, "encoders": "random"}])
def test_an_opposed_readout_needs_pairs(wrong):
    with pytest.raises(ConfigError, match="opposed: needs units in pairs"):
        build_model({**OPPOSED, "memory_d": 4, "order": 2, **wrong}, 4, 3)
