"""Steps in compiled code against those in PyTorch's operations."""

import copy
from typing import Any

import pytest
import torch

from snn_action.models import build_model, find_spikes, stream_step

FEATURES, CLASSES = 300, 3
CODED = {"input_threshold": 0.5, "memory_threshold": 0.2}
CASES: dict[str, dict[str, Any]] = {
    "spiking": {"type": "spiking_lmu"},
    "spiking, coded": {"type": "spiking_lmu", **CODED},
    "spiking, input coded": {"type": "spiking_lmu", "input_threshold": 0.5, "trained": "theta"},
    "spiking, units choose": {"type": "spiking_lmu", "encoders": "on_off", "memory_d": 300, "units": 900},
    "spiking, units choose, coded": {
        "type": "spiking_lmu", "encoders": "on_off", "memory_d": 300, "units": 900, **CODED,
    },
    "lif": {"type": "spiking_lmu", "neuron": {"type": "lif"}, "max_rates": (200.0, 400.0), **CODED},
    "both signs": {"type": "spiking_lmu", "neuron": {"type": "stochastic_spiking"}, "gradient": "spike_aware"},
    "adaptive": {"type": "spiking_lmu", "neuron": {"type": "adaptive_lif"}, "max_rates": (50.0, 100.0), **CODED},
    "learned": {"type": "spiking_lmu", "neuron": {"type": "plif"}, "max_rates": (200.0, 400.0)},
    "rates": {"type": "spiking_lmu", "neuron": {"type": "rectified_linear"}, "gradient": "rate"},
    "looks back": {"type": "spiking_lmu", "differences": 2, "inputs": ("features", "difference"), **CODED},
    "lmu": {"type": "lmu", "normalize": True},
    "lmu, coded": {"type": "lmu", **CODED},
    "lmu, memory coded": {"type": "lmu", "memory_threshold": 0.2, "activation": "relu"},
}  # fmt: skip


def make(options: dict[str, Any]) -> Any:
    settings = {"units": 260, "memory_d": 130, "order": 2, "theta": 6.0, **options}
    if settings["type"] == "spiking_lmu":
        settings.setdefault("max_rates", (400.0, 800.0))
    return build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=0).eval()


def frames(batch: int, steps: int = 25) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    still = torch.randn(batch, 1, FEATURES, generator=generator)
    return still + 0.3 * torch.randn(batch, steps, FEATURES, generator=generator)


def run(model: Any, x: torch.Tensor, *, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, Any]:
    state, logits, used = None, [], []
    with monkeypatch.context() as patch, torch.no_grad():
        find = stream_step.find_plan
        patch.setattr(
            stream_step, "find_plan", (lambda *given: used.append(find(*given)) or used[-1]) if compiled else _no
        )
        for now in x.unbind(1):
            logit, state = model.step(now, state)
            logits.append(logit)
    assert compiled == any(plan is not None for plan in used)
    return torch.stack(logits, 1), state


def _no(*_: Any) -> None:
    return None


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    return [] if state is None else [tensor for part in state for tensor in tensors(part)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_compiled_step_is_the_step(name, batch, monkeypatch):
    model, x = make(CASES[name]), frames(batch)
    expected, after = run(model, x, compiled=False, monkeypatch=monkeypatch)
    found, state = run(model, x, compiled=True, monkeypatch=monkeypatch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    assert type(state) is type(after)
    for one, other in zip(tensors(state), tensors(after), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
    if model.populations:
        torch.testing.assert_close(find_spikes(state), find_spikes(after), rtol=0.002, atol=1.0)
        assert bool((find_spikes(state)[0] > 100).all())
    # the state is one of the usual steps, and theirs is one of these
    with torch.no_grad():
        torch.testing.assert_close(model(x, state)[0], model(x, after)[0], rtol=1e-3, atol=1e-3)


def test_weights_that_change_count_at_once(monkeypatch):
    model, x = make(CASES["spiking, coded"]), frames(1)
    run(model, x, compiled=True, monkeypatch=monkeypatch)
    with torch.no_grad():
        model.memory_kernel.weight.mul_(1.5)
        model.readout.weight.data = 2 * model.readout.weight.data
    expected, _ = run(model, x, compiled=False, monkeypatch=monkeypatch)
    torch.testing.assert_close(run(model, x, compiled=True, monkeypatch=monkeypatch)[0], expected, rtol=1e-4, atol=2e-4)
    weights = [*model.parameters()]
    for _ in range(3):  # as `model.half().float()` does, whose memory may come to lie where that of before was
        model.half().float()
        with torch.no_grad():
            for weight in weights:
                weight.data = weight.data.clone()
        expected, _ = run(model, x, compiled=False, monkeypatch=monkeypatch)
        found, _ = run(model, x, compiled=True, monkeypatch=monkeypatch)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.readout.bias.add_(1.0)
    torch.testing.assert_close(
        run(copied, x, compiled=True, monkeypatch=monkeypatch)[0], expected + 1, rtol=1e-4, atol=2e-4
    )


def test_sums_of_changes_stay_right_over_a_long_stream():
    """20,000 frames of a camera on which little changes: what was added up is what the weights make of what is held."""
    model = make(CASES["lmu, coded"])
    x, state, generator = frames(1, 1)[:, 0], None, torch.Generator().manual_seed(1)
    steps = 0.05 * torch.randn(20_000, FEATURES, generator=generator)
    with torch.no_grad():
        for step in steps:
            x = 0.999 * x + step
            _, state = model.step(x, state)
        for sent, layer in ((state.sent_input, model.encoder), (state.sent_memory, model.memory_kernel)):
            torch.testing.assert_close(sent.products[0], layer(sent.held), rtol=0, atol=2e-4)


@pytest.mark.parametrize("bad", ["input", "voltage"])
def test_a_number_that_is_not_finite_is_named(bad):
    model, x = make(CASES["spiking"]), frames(1)
    with torch.no_grad():
        _, state = model.step(x[:, 0], None)
        if bad == "input":
            x[0, 1, 7] = float("nan")
        else:
            state.hidden.neurons.voltage[0, 4] = float("inf")
        with pytest.raises(ValueError, match=r"neuron \d+ is" if bad == "input" else "state.voltage of neuron 4"):
            model.step(x[:, 1], state)


def test_what_is_none_for_compiled_code_is_left_to_pytorch():
    model, x = make(CASES["spiking"]), frames(5, 1)[:, 0]
    with torch.no_grad():
        assert stream_step.find_plan(model, x) is None  # too many clips
        assert stream_step.find_plan(model, x[:2]) is not None
        assert stream_step.find_plan(model.train(), x[:2]) is None
        assert stream_step.find_plan(model.eval(), x[:2].double()) is None
        assert stream_step.find_plan(make({"type": "lmu", "input_to_hidden": True}), x[:2]) is None
        handle = model.neuron.register_forward_hook(lambda *_: None)
        assert stream_step.find_plan(model, x[:2]) is None  # it would not be called
        handle.remove()
        assert stream_step.find_plan(model, x[:2]) is not None
    assert stream_step.find_plan(model, x[:2]) is None  # gradients may be asked for
