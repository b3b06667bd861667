import copy

import pytest
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.models.stacked_lmu import StackedLMU

SMALL = {"units": 5, "order": 4, "theta": 6.0, "memory_d": 2}


def make(in_features: int = 3, classes: int = 2, **options) -> StackedLMU:
    settings = {"type": "stacked_lmu", **SMALL, **options}
    model = build_model(settings, in_features=in_features, num_classes=classes, seed=0)
    assert isinstance(model, StackedLMU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # gains of one and biases of zero would hide mistakes
            if "norm" in name or "bias" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.double().eval()


def normalize(h: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    centered = h - h.sum() / len(h)
    return gain * centered / ((centered * centered).sum() / len(h) + 1e-5).sqrt() + offset


def reference(model: StackedLMU, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The equations of the module docstring, one clip, one step, one block and one memory at a time."""
    s = model.settings
    memories = [torch.zeros(s.memory_d, s.order, dtype=torch.float64) for _ in range(s.layers)]
    logits = []
    for now in x:
        h = model.entry.weight @ now + model.entry.bias
        for level, block in enumerate(model.blocks):
            n = normalize(h, block.norm.weight, block.norm.bias)
            u = block.encoder.weight @ n
            a, b = block.memory.matrices(u)
            memories[level] = torch.stack([a @ memories[level][d] + b * u[d] for d in range(s.memory_d)])
            total = block.memory_kernel.weight @ memories[level].reshape(-1) + block.memory_kernel.bias
            if block.input_kernel is not None:
                total = total + block.input_kernel.weight @ n
            h = h + total.tanh()
        last = normalize(h, model.norm.weight, model.norm.bias)
        logits.append(model.readout.weight @ last + model.readout.bias)
    return torch.stack(logits), memories


@pytest.mark.parametrize("steps", [9, 230])  # the memory as one product over pairs of steps, and in chunks
@pytest.mark.parametrize("options", [{}, {"input_to_hidden": False}, {"layers": 3, "trained": "theta"}], ids=str)
def test_the_equations(options, steps):
    model = make(**options)
    x = torch.randn(2, steps, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, state = model(x)
        for clip in range(2):
            expected, memories = reference(model, x[clip])
            torch.testing.assert_close(logits[clip], expected)
            for block, memory in zip(state.blocks, memories, strict=True):
                torch.testing.assert_close(block.memory[clip], memory)


def test_a_state_holds_one_memory_a_block():
    _, state = make(layers=4)(torch.randn(7, 3, 3, dtype=torch.float64))
    assert [block.memory.shape for block in state.blocks] == [(7, 2, 4)] * 4


def test_two_blocks_remember_twice_theta():
    """The input of one step, seen in the logits long after: a second block reaches further back than the first."""
    x = torch.randn(1, 60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, 0] += 1
    reach = []
    for layers in (1, 2):
        model = make(layers=layers, order=6, theta=12.0)
        with torch.no_grad():
            difference = (model(other)[0] - model(x)[0])[0].abs().amax(1)
        reach.append(int((difference > 0.01 * difference.max()).nonzero().max()))
    assert 8 <= reach[0] < 40
    assert reach[1] > 1.3 * reach[0]


def test_dropout_is_one_draw_a_clip_and_off_in_evaluation():
    """With what a block adds cut off and a constant input, steps differ only if dropout did."""
    model = make(units=40, layers=2, dropout=0.5)
    with torch.no_grad():
        for block in model.blocks:
            block.memory_kernel.weight.zero_()
    x = torch.randn(6, 1, 3, dtype=torch.float64).expand(-1, 5, -1)
    torch.manual_seed(0)
    trained, _ = copy.deepcopy(model).train()(x)
    logits, _ = model(x)
    torch.testing.assert_close(trained, trained[:, :1].expand_as(trained))
    assert (trained - logits).abs().amax((1, 2)).min() > 1e-3
    assert torch.equal(model(x)[0], logits)


def test_each_block_has_its_own_dropout():
    """One block, its sum with the input read back: half of what it adds is gone, the rest doubled."""
    model = make(units=400, layers=1, dropout=0.5)
    block = model.blocks[0]
    h = torch.randn(3, 4, 400, dtype=torch.float64)
    state = model.initial_state(3, h.device, h.dtype).blocks[0]
    with torch.no_grad():
        added = block(h, state, None)[0] - h
        torch.manual_seed(0)
        dropped = block.train()(h, state, None)[0] - h
    ratio = dropped / added
    torch.testing.assert_close(ratio, (ratio > 1).double() * 2)
    assert 0.4 < float((ratio > 1).double().mean()) < 0.6
    assert torch.equal(ratio[:, 0] > 1, ratio[:, 3] > 1)
    assert not torch.equal(ratio[0] > 1, ratio[1] > 1)


@pytest.mark.parametrize(
    ("key", "value"), [("layers", 0), ("units", 1), ("order", 0), ("theta", 0.0), ("dropout", 1.0)]
)
def test_settings_out_of_range_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        make(**{key: value})
