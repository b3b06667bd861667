"""Counts what a network does, layer by layer, while it runs: see ``evaluation.operations`` for what is counted.

A layer is what has one set of weights. It has their name in the network; products of two activations, as in attention,
are one layer without weights.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.spiking import find_neurons
from snn_action.evaluation.energy.tallies import Events, Firing, Product, Sums
from snn_action.models.base import find_spikes
from snn_action.snn import counting

aten = torch.ops.aten
UNNAMED = "products of activations"


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
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


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up products, all of them and those of two non-zero numbers, operator by operator, and what networks tell.

    Attributes:
        updates: Values that were carried from step to step without a synapse.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.updates = 0.0
        self.silent = False
        self.inputs: frozenset[str] = frozenset()
        self.heard: AbstractContextManager[None] | None = None
        self.tensors = {**dict(network.named_buffers()), **dict(network.named_parameters())}
        self.names = {tensor.untyped_storage().data_ptr(): name for name, tensor in self.tensors.items()}
        self.known: dict[Any, Tensor] = {}
        self.sums: dict[str, Sums] = {}
        self.events: dict[str, Events] = {}
        self.firing: dict[int, Firing] = {}

    def layers(self, part: str) -> list[Layer]:
        """What was counted, in the order of the first use, then neurons that send changes, then what spikes."""
        layers = [sums.describe(name, part) for name, sums in self.sums.items()]
        layers += [events.describe(name, part) for name, events in self.events.items()]
        return [*layers, *(layer for firing in self.firing.values() for layer in firing.describe(part))]

    def __enter__(self) -> "Counter":
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
            for inputs, weight, axis, name, given, bias in tell():
                targets = 1 if axis is None else weight.shape[axis]
                met = _nonzero(weight) if axis is None else self.count_nonzero(weight, axis)
                effective = float((_nonzero(inputs) * met).sum(dtype=torch.float64))
                fan_in = 1 if weight.ndim < 2 or axis is None else weight.numel() // targets
                fan_in = fan_in if given is None else given
                dense = inputs.numel() * targets
                product = Product(dense, effective, inputs, weight, fan_in, dense // max(fan_in, 1), bias)
                self.add(product, counting.place_name(name))
        finally:
            self.silent = False

    def count_updates(self, values: int) -> None:
        """See ``counting``."""
        self.updates += values

    def count_spiking(self, layers: counting.Spiking, state: Any, steps: int) -> None:
        """See ``counting``."""
        spikes = find_spikes(state)
        if layers.populations:
            clips = len(spikes[0])
            states = [values // clips for values in find_neurons(state)]
            firing = self.firing.setdefault(id(layers), Firing(layers.populations, layers.synapses, states))
            firing.add([float(count.sum()) for count in spikes], clips * steps)

    def count_events(self, name: str, neurons: int, events: Sequence[int], states: int) -> None:
        """See ``counting``."""
        found = self.events.setdefault(name, Events(neurons, states))
        found.steps += len(events)
        found.sent += sum(events)

    def by_changes(self) -> AbstractContextManager[None]:
        """See ``counting``."""
        return self._mark("changes")

    def by_decoded(self) -> AbstractContextManager[None]:
        """See ``counting``."""
        return self._mark("decoded")

    @contextmanager
    def _mark(self, inputs: str) -> Iterator[None]:
        """Inside, products are of ``inputs`` of this kind, too."""
        before, self.inputs = self.inputs, self.inputs | {inputs}
        try:
            yield
        finally:
            self.inputs = before

    def add(self, product: Product, told: str | None = None) -> None:
        """Count one product among those of its layer; ``told`` is its name where its weight has none."""
        name = self.names.get(product.weight.untyped_storage().data_ptr(), told)
        layer = UNNAMED if name is None else name.removesuffix(".weight")
        if layer not in self.sums:
            bias = self._find_bias(name) if product.bias is None else product.bias
            weights = [] if name is None else [product.weight, *([] if bias is None else [bias])]
            self.sums[layer] = Sums(weights, product.fan_in, product.results)
        sums = self.sums[layer]
        sums.calls += 1
        sums.by_changes |= "changes" in self.inputs
        sums.by_decoded |= "decoded" in self.inputs
        sums.dense += product.dense
        sums.effective += product.effective
        for tensor in (product.inputs, product.weight) if name is None else (product.inputs,):
            sums.values += tensor.numel()
            sums.active += float(tensor.count_nonzero())

    def _find_bias(self, name: str | None) -> Tensor | None:
        """Named as the weight is: ``bias`` beside ``weight``, ``bias_ih_l0`` beside ``weight_ih_l0``."""
        place, dot, own = (name or "").rpartition(".")
        return self.tensors.get(f"{place}{dot}{own.replace('weight', 'bias')}") if "weight" in own else None

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
        self.add(_COUNTED[packet](self, *args))
        return func(*args, **kwargs)

    @contextmanager
    def again(self) -> Iterator[None]:
        """See also the operators that one is made of."""
        super().__enter__()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor belongs to the network."""
        return tensor.untyped_storage().data_ptr() in self.names

    def count_nonzero(self, tensor: Tensor, axis: int) -> Tensor:
        """How many of a tensor are not zero along an axis; of weights it is kept, they stay as they are."""
        if not self.is_weight(tensor):
            return _nonzero(tensor).sum(axis)
        storage = tensor.untyped_storage().data_ptr()
        key = storage, tensor.storage_offset(), tensor.shape, tensor.stride(), axis
        if key not in self.known:
            self.known[key] = _nonzero(tensor).sum(axis)
        return self.known[key]


def _nonzero(x: Tensor) -> Tensor:
    return (x != 0).to(torch.float32)


def _matrix(counter: Counter, a: Tensor, b: Tensor) -> Product:
    """Of ``a @ b``: for each inner index, non-zeros of a's column times non-zeros of b's row."""
    found = counter.count_nonzero(a, -2).double() * counter.count_nonzero(b, -1).double()
    inputs, weight = (b, a) if counter.is_weight(a) else (a, b)
    dense, inner = a.numel() * b.shape[-1], a.shape[-1]
    return Product(dense, float(found.sum()), inputs, weight, inner, dense // max(inner, 1))


def _vector(counter: Counter, a: Tensor, b: Tensor) -> Product:
    """Of a matrix or vector ``a`` and a vector ``b``."""
    inputs, weight = (b, a) if counter.is_weight(a) else (a, b)
    effective = float((_nonzero(a) * _nonzero(b)).sum(dtype=torch.float64))
    return Product(a.numel(), effective, inputs, weight, len(b), a.numel() // max(len(b), 1))


def _convolution(
    _: Counter, x: Tensor, weight: Tensor, _bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    *settings: Any,
) -> Product:  # fmt: skip
    arguments = stride, padding, dilation, transposed, *settings
    products: Tensor = aten.convolution(_nonzero(x), _nonzero(weight), None, *arguments)
    met = x if transposed else products
    dense = met.numel() * weight[0].numel()
    effective = float(products.round().sum(dtype=torch.float64))  # each is a small integer
    return Product(dense, effective, x, weight, weight[0].numel(), products.numel())


def _added(count: Callable[..., Product]) -> Callable[..., Product]:
    """Of an operator that adds the product to its first argument."""
    return lambda counter, _, a, b: count(counter, a, b)


_COUNTED: dict[Any, Callable[..., Product]] = {
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
