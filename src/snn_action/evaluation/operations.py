"""Operations of a network on one clip, in NeuroBench's terms (Yik et al. 2023).

dense_macs      multiply-accumulates of all convolutions and matrix products, whatever the values
effective_macs  those of them where both the activation and the weight are non-zero
effective_acs   accumulates: a spike adds the weights of its synapses, no multiplication is needed

Dense ones are counted by PyTorch's own ``FlopCounterMode`` (half its FLOPs), plus every synapse of spiking neurons at
every step. Effective ones are exact: each operator is run again on indicators of its non-zero inputs. What is done
value by value (neurons, filters, activations, normalisation) is not counted, as in NeuroBench.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
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
    with torch.no_grad(), _whole_operators():
        dense = FlopCounterMode(display=False)
        with dense:
            network(example)
        with _EffectiveCounter() as effective:
            network(example)
    network.train(was_training)
    return Operations(dense.get_total_flops() / 2, effective.total, 0.0)


@contextmanager
def _whole_operators() -> Iterator[None]:
    """Without oneDNN, whose fused LSTM hides its matrix products from counters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # said by the switch itself
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def count_model_operations(model: TemporalModel, clip: Tensor, spikes_per_clip: float | None) -> Operations:
    """Operations of a temporal model on one ``clip`` (1, T, D); its spikes are what it gave on the test clips."""
    counted = count_operations(model, clip)
    synapses = model.n_neurons * model.accumulates_per_spike * clip.shape[1]
    accumulates = (spikes_per_clip or 0.0) * model.accumulates_per_spike
    return Operations(counted.dense_macs + synapses, counted.effective_macs, accumulates)


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


def _total(x: Tensor) -> float:
    return float(x.sum(dtype=torch.float64))  # each element is an exact small integer


def _convolution(x: Tensor, weight: Tensor, _bias: Any, *settings: Any) -> float:
    return _total(aten.convolution(_nonzero(x), _nonzero(weight), None, *settings))


_COUNTED: dict[Any, Callable[..., float]] = {
    aten.mm: lambda a, b: _total(_nonzero(a) @ _nonzero(b)),
    aten.addmm: lambda _, a, b: _total(_nonzero(a) @ _nonzero(b)),
    aten.bmm: lambda a, b: _total(_nonzero(a) @ _nonzero(b)),
    aten.baddbmm: lambda _, a, b: _total(_nonzero(a) @ _nonzero(b)),
    aten.convolution: _convolution,
}
