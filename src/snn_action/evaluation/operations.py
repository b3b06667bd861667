"""Operations of a network on one clip, in NeuroBench's terms (Yik et al. 2023).

dense_macs      multiply-accumulates of all convolutions and matrix products, whatever the values
effective_macs  those of them where both the activation and the weight are non-zero
effective_acs   accumulates: a spike adds the weights of its synapses, no multiplication is needed

Dense ones are counted by PyTorch's own ``FlopCounterMode`` (half its FLOPs), plus every synapse of spiking neurons at
every step. Effective ones are exact: each operator is run again on indicators of its non-zero inputs. Fused layers
(LSTM, attention) are run by the plain operators that they are made of. A temporal model is counted as it streams, one
step after another: a chip that sees one frame after another has no use for convolutions over time. What is done value
by value (neurons, filters, activations, normalisation) is not counted, as in NeuroBench.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from snn_action.models import TemporalModel

aten = torch.ops.aten


@dataclass(frozen=True)
class Operations:
    """Operations of one clip; see the module."""

    dense_macs: float
    effective_macs: float
    effective_acs: float

    def times(self, factor: float) -> "Operations":
        """The operations of ``factor`` such runs."""
        return Operations(self.dense_macs * factor, self.effective_macs * factor, self.effective_acs * factor)

    def plus(self, other: "Operations") -> "Operations":
        """The operations of both."""
        return Operations(
            self.dense_macs + other.dense_macs,
            self.effective_macs + other.effective_macs,
            self.effective_acs + other.effective_acs,
        )

    def to_dict(self) -> dict[str, float]:
        """For ``metrics.json``."""
        return asdict(self)


def count_operations(network: nn.Module, example: Tensor) -> Operations:
    """Operations of ``network(example)`` in evaluation mode, for a network that does not spike."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), _plain_operators():
            with FlopCounterMode(display=False, custom_mapping=_VECTOR_FLOPS) as dense:
                network(example)
            with _EffectiveCounter() as effective:
                network(example)
    finally:
        network.train(was_training)
    return Operations(dense.get_total_flops() / 2, effective.total, 0.0)


@contextmanager
def _plain_operators() -> Iterator[None]:
    """Without oneDNN's and cuDNN's LSTM and PyTorch's fused attention, which hide their matrix products."""
    switches: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [switch.enabled for switch in switches]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        for switch in switches:
            switch.enabled = False
        torch.backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for switch, enabled in zip(switches, before, strict=True):
            switch.enabled = enabled
        torch.backends.mha.set_fastpath_enabled(fast)


def count_model_operations(model: TemporalModel, clip: Tensor, spikes: Mapping[str, Any] | None) -> Operations:
    """Operations of a temporal model on one ``clip`` (1, T, D); ``spikes`` is what ``measure_spikes`` says of it."""
    counted = count_operations(_Stream(model), clip)
    synapses = sum(population.neurons * population.fan_out for population in model.populations)
    found = {} if spikes is None else spikes["populations"]
    accumulates = sum(found[name]["per_clip"] * fan_out for name, _, fan_out in model.populations)
    return Operations(counted.dense_macs + synapses * clip.shape[1], counted.effective_macs, accumulates)


class _Stream(nn.Module):
    """A temporal model that steps through a clip."""

    def __init__(self, model: TemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> None:
        state = None
        for features in clip.unbind(1):
            _, state = self.model.step(features, state)


class _EffectiveCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up products of two non-zero numbers, operator by operator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in _COUNTED:
            with self:
                decomposed = func.decompose(*args, **kwargs)
            return decomposed if decomposed is not NotImplemented else func(*args, **kwargs)
        self.total += _COUNTED[packet](*args)
        return func(*args, **kwargs)


def _nonzero(x: Tensor) -> Tensor:
    return (x != 0).to(torch.float32)


def _matrix(a: Tensor, b: Tensor) -> float:
    """Of ``a @ b``: for each inner index, non-zeros of a's column times non-zeros of b's row."""
    return float((_nonzero(a).sum(-2).double() * _nonzero(b).sum(-1).double()).sum())


def _vector(a: Tensor, b: Tensor) -> float:
    """Of a matrix or vector ``a`` and a vector ``b``."""
    return float((_nonzero(a) * _nonzero(b)).sum(dtype=torch.float64))


def _convolution(x: Tensor, weight: Tensor, _bias: Any, *settings: Any) -> float:
    products: Tensor = aten.convolution(_nonzero(x), _nonzero(weight), None, *settings)
    return float(products.round().sum(dtype=torch.float64))  # each is a small integer


_COUNTED: dict[Any, Callable[..., float]] = {
    aten.mm: _matrix,
    aten.bmm: _matrix,
    aten.addmm: lambda _, a, b: _matrix(a, b),
    aten.baddbmm: lambda _, a, b: _matrix(a, b),
    aten._addmm_activation: lambda _, a, b: _matrix(a, b),
    aten.mv: _vector,
    aten.dot: _vector,
    aten.addmv: lambda _, a, b: _vector(a, b),
    aten.convolution: _convolution,
}


def _flops(products: Callable[..., int]) -> Callable[..., int]:
    return lambda *shapes, **_: 2 * products(*shapes)


# What PyTorch's counter does not know, from the shapes of the operator's arguments.
_VECTOR_FLOPS: dict[Any, Callable[..., int]] = {
    aten.mv: _flops(lambda a, _: a[0] * a[1]),
    aten.addmv: _flops(lambda _, a, __: a[0] * a[1]),
    aten.dot: _flops(lambda a, _: a[0]),
    aten._addmm_activation: _flops(lambda _, a, b: a[0] * a[1] * b[1]),
}
