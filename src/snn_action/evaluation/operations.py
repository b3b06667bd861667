"""Operations of a network on one clip, in NeuroBench's terms (Yik et al. 2023).

dense_macs      every synapse at every step: a weight of a layer, whatever it and its input are
effective_macs  of those whose input is a number: both input and weight are non-zero
effective_acs   of those whose input is spikes: one accumulate a spike and synapse, no multiplication is needed
neuron_updates  one a spiking neuron and step: its membrane is moved on, whether anything reached it or not
state_updates   one a step for each other value that is carried from step to step and multiplied without a synapse:
                the state of a lowpass filter, an LSTM's cell, a running sum

Every synapse is counted once: as MACs where its input is numbers, as ACs where it is spikes, never as both. A spike is
binary, or graded: n spikes of one neuron in one step are n accumulates. What spikes decode to is a number again, and
what comes after it is MACs.

A temporal model is counted as it streams, one step after another, as a chip does that sees one frame after another.
Where our own code computes in another way, it is counted as the network that it equals (``neurons.counting``): a
Legendre memory as the products ``A m`` and ``B u`` of each step, not as a convolution; an ensemble as one weight from
its value to each neuron and one from each neuron to what is decoded; spikes behind a linear synapse (a lowpass filter)
as accumulates, since the filter can be moved behind the weights, where it has one state a target: these are the
``state_updates`` then. The scale of spikes (spikes a second, a unit of rate) is thought to be part of the weights.

Effective MACs are exact: each product is counted again on indicators of its non-zero inputs. Effective ACs are the
spikes of each population times its fan-out, with no weight of zero. Fused layers (LSTM, attention) are run by the plain
operators that they are made of. What else is done value by value (standardization, activations, gates, biases) is not
counted, as in NeuroBench.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from snn_action.models import TemporalModel, find_spikes
from snn_action.snn import counting

aten = torch.ops.aten


@dataclass(frozen=True)
class Operations:
    """Operations of one clip; see the module."""

    dense_macs: float
    effective_macs: float
    effective_acs: float
    neuron_updates: float = 0.0
    state_updates: float = 0.0

    def times(self, factor: float) -> "Operations":
        """The operations of ``factor`` such runs."""
        return Operations(**{name: value * factor for name, value in self.to_dict().items()})

    def plus(self, other: "Operations") -> "Operations":
        """The operations of both."""
        more = other.to_dict()
        return Operations(**{name: value + more[name] for name, value in self.to_dict().items()})

    def to_dict(self) -> dict[str, float]:
        """For ``metrics.json``."""
        return asdict(self)


def count_operations(network: nn.Module, example: Tensor) -> Operations:
    """Operations of ``network(example)`` in evaluation mode, for a network that does not spike."""
    counter = _Counter(network)
    with _evaluating(network), counter:
        network(example)
    return counter.operations


def count_model_operations(model: TemporalModel, clip: Tensor, spikes: Mapping[str, Any] | None) -> Operations:
    """Operations of a temporal model on one ``clip`` (1, T, D), step by step.

    ``spikes`` is what ``measure_spikes`` says of the test clips, by whose mean accumulates are counted; None: by those
    of this clip.
    """
    counter = _Counter(model)
    state = None
    with _evaluating(model), counter:
        for features in clip.unbind(1):
            _, state = model.step(features, state)
    if not model.populations:
        fired = []
    elif spikes is None:
        fired = [float(count.sum()) for count in find_spikes(state)]
    else:
        fired = [spikes["populations"][population.name]["per_clip"] for population in model.populations]
    synapses, accumulates, steps = 0.0, 0.0, clip.shape[1]
    for population, count in zip(model.populations, fired, strict=True):
        synapses += population.neurons * population.fan_out * steps
        accumulates += population.fan_out * count
    return counter.operations.plus(Operations(synapses, 0.0, accumulates, float(model.n_neurons * steps)))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, by plain operators: not oneDNN's and cuDNN's LSTM nor PyTorch's fused attention."""
    switches: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [switch.enabled for switch in switches]
    fast = torch.backends.mha.get_fastpath_enabled()
    was_training = network.training
    network.eval()
    try:
        for switch in switches:
            switch.enabled = False
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for switch, enabled in zip(switches, before, strict=True):
            switch.enabled = enabled
        torch.backends.mha.set_fastpath_enabled(fast)
        network.train(was_training)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up products, all of them and those of two non-zero numbers, operator by operator, and what networks tell."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dense = self.effective = self.updates = 0.0
        self.silent = False
        self.heard: AbstractContextManager[None] | None = None
        tensors = [*network.parameters(), *network.buffers()]
        self.weights = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.known: dict[Any, Tensor] = {}

    @property
    def operations(self) -> Operations:
        """What was counted."""
        return Operations(self.dense, self.effective, 0.0, 0.0, self.updates)

    def __enter__(self) -> "_Counter":
        self.heard = counting.listen(self)
        self.heard.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        assert self.heard is not None
        self.heard.__exit__(*error)

    @contextmanager
    def count_as(self, tell: counting.Tell) -> Iterator[None]:
        """Of nested ones the outermost counts."""
        if self.silent:
            yield
            return
        self.silent = True
        try:
            yield
            for inputs, weight, axis in tell():
                self.dense += inputs.numel() * (1 if axis is None else weight.shape[axis])
                targets = _nonzero(weight) if axis is None else self.count_nonzero(weight, axis)
                self.effective += float((_nonzero(inputs) * targets).sum(dtype=torch.float64))
        finally:
            self.silent = False

    def count_updates(self, values: int) -> None:
        """See ``counting``."""
        self.updates += values

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if self.silent:
            return func(*args, **kwargs)
        if packet not in _COUNTED:
            with self.again():
                decomposed = func.decompose(*args, **kwargs)
            return decomposed if decomposed is not NotImplemented else func(*args, **kwargs)
        dense, effective = _COUNTED[packet](self, *args)
        self.dense, self.effective = self.dense + dense, self.effective + effective
        return func(*args, **kwargs)

    @contextmanager
    def again(self) -> Iterator[None]:
        """See also the operators that one is made of."""
        super().__enter__()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def count_nonzero(self, tensor: Tensor, axis: int) -> Tensor:
        """How many of a tensor are not zero along an axis; of weights it is kept, they stay as they are."""
        storage = tensor.untyped_storage().data_ptr()
        if storage not in self.weights:
            return _nonzero(tensor).sum(axis)
        key = storage, tensor.storage_offset(), tensor.shape, tensor.stride(), axis
        if key not in self.known:
            self.known[key] = _nonzero(tensor).sum(axis)
        return self.known[key]


Counted = tuple[float, float]  # all products, and those of two numbers that are not zero


def _nonzero(x: Tensor) -> Tensor:
    return (x != 0).to(torch.float32)


def _matrix(counter: _Counter, a: Tensor, b: Tensor) -> Counted:
    """Of ``a @ b``: for each inner index, non-zeros of a's column times non-zeros of b's row."""
    found = counter.count_nonzero(a, -2).double() * counter.count_nonzero(b, -1).double()
    return a.numel() * b.shape[-1], float(found.sum())


def _vector(_: _Counter, a: Tensor, b: Tensor) -> Counted:
    """Of a matrix or vector ``a`` and a vector ``b``."""
    return a.numel(), float((_nonzero(a) * _nonzero(b)).sum(dtype=torch.float64))


def _convolution(
    _: _Counter, x: Tensor, weight: Tensor, _bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    *settings: Any,
) -> Counted:  # fmt: skip
    arguments = stride, padding, dilation, transposed, *settings
    products: Tensor = aten.convolution(_nonzero(x), _nonzero(weight), None, *arguments)
    met = x if transposed else products
    return met.numel() * weight[0].numel(), float(products.round().sum(dtype=torch.float64))  # each is a small integer


def _added(count: Callable[..., Counted]) -> Callable[..., Counted]:
    """Of an operator that adds the product to its first argument."""
    return lambda counter, _, a, b: count(counter, a, b)


_COUNTED: dict[Any, Callable[..., Counted]] = {
    aten.mm: _matrix,
    aten.bmm: _matrix,
    aten.addmm: _added(_matrix),
    aten.addmm_: _added(_matrix),
    aten.baddbmm: _added(_matrix),
    aten.baddbmm_: _added(_matrix),
    aten.addbmm: _added(_matrix),
    aten.addbmm_: _added(_matrix),
    aten._addmm_activation: _added(_matrix),
    aten.mv: _vector,
    aten.dot: _vector,
    aten.addmv: _added(_vector),
    aten.addmv_: _added(_vector),
    aten.convolution: _convolution,
}
