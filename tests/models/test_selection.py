import copy

import pytest
import torch
from torch import Tensor, nn

from snn_action.models import build_model
from snn_action.models.selection import _LEAST, project

IN, OUT = 256, 512
assert IN * OUT > _LEAST


def make_layer(bias: bool = True) -> nn.Linear:
    layer = nn.Linear(IN, OUT, bias=bias)
    with torch.no_grad():
        kept = torch.arange(OUT) % IN
        value = layer.weight[torch.arange(OUT), kept].clone()
        layer.weight.zero_()
        layer.weight[torch.arange(OUT), kept] = value
        layer.weight[3] = 0  # a row without any
    return layer


def make_input() -> Tensor:
    return torch.randn(4, 7, IN, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_the_layer(bias):
    layer, x = make_layer(bias), make_input()
    with torch.no_grad():
        torch.testing.assert_close(project(x, layer), layer(x))


def test_weights_that_were_changed_since_count_as_they_are():
    layer, x = make_layer(), make_input()
    with torch.no_grad():
        project(x, layer)
        layer.weight[5, 9] = 2.0
        torch.testing.assert_close(project(x, layer), layer(x))
        layer.weight[5] = 0.0
        layer.weight[5, 1] = -3.0
        torch.testing.assert_close(project(x, layer), layer(x))


def test_gradients_pass():
    layer, x = make_layer(), make_input()
    project(x, layer).square().sum().backward()
    found = layer.weight.grad
    layer.weight.grad = None
    layer(x).square().sum().backward()
    assert found is not None
    torch.testing.assert_close(found, layer.weight.grad)


@pytest.mark.parametrize("kind", ["lmu", "spiking_lmu"])
def test_a_model_with_such_weights_says_the_same_with_and_without_gradients(kind):
    settings = {"type": kind, "encoders": "on_off", "memory_d": 128, "order": 2, "units": 512, "theta": 4.0}
    model = build_model(settings, 128, 3, seed=0).double().eval()
    x = torch.randn(2, 6, 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        chosen, _ = model(x)
        state = None
        for step in x.unbind(1):
            last, state = model.step(step, state)
    torch.testing.assert_close(chosen, model(x)[0])
    torch.testing.assert_close(chosen[:, -1], last)
    torch.testing.assert_close(copy.deepcopy(model)(x)[0], chosen)


def test_hooks_on_a_layer_are_called():
    """Other tools look at layers by hooks (NeuroBench, profilers)."""
    model = build_model({"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3}, 5, 2, seed=0).eval()
    seen = []
    for name in ("encoder", "memory_kernel", "readout"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    with torch.no_grad():
        model.step(torch.randn(1, 5))
    assert seen == ["encoder", "memory_kernel", "readout"]
