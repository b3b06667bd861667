"""A frozen CNN as a network of sigma-delta neurons: between its layers only changes are sent, from image to image."""

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from snn_action.backbones.graph import read_graph
from snn_action.core.errors import ConfigError, WorkError
from snn_action.snn import counting
from snn_action.snn.sigma_delta import SigmaDelta, SigmaDeltaState

KEY = "backbone.coding"
IMAGES = "images"
_WEIGHTED = (nn.Conv2d, nn.Linear)
_CHOOSES = {"MaxPool2d", "AdaptiveMaxPool2d", "max_pool2d", "adaptive_max_pool2d", "boolean_dispatch"}
_AVERAGES = {"AvgPool2d", "AdaptiveAvgPool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean"}
_PRODUCTS = {"mul", "imul"}
_REARRANGES = {"flatten", "cat", "concat", "getitem", "chunk", "split", "transpose", "permute", "reshape", "view",
               "contiguous", "size", "floordiv", "dropout", "stochastic_depth", "Dropout", "Identity", "Flatten",
               "StochasticDepth"}  # fmt: skip
_POINTWISE = {"add", "iadd", "relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "ReLU",
              "ReLU6", "Hardtanh", "Hardswish", "Hardsigmoid", "Sigmoid", "SiLU", "GELU", "LeakyReLU", "ELU",
              "BatchNorm2d"}  # fmt: skip

State = tuple[SigmaDeltaState, ...]


class SigmaDeltaNetwork(nn.Module):
    """A network whose layers send changes of their activations, and add up what the changes of others give.

    A value that a convolution, a linear layer or a pool takes in, or that meets another one in a product, is that of a
    sigma-delta neuron (``SigmaDelta``): it is sent in whole numbers of its threshold, when it has changed by as much.
    The largest of some such values needs no neuron of its own.
    A layer with weights has work for what was sent alone, ``s_t = s_{t-1} + W d_t``. All that is done value by value
    (activations, sums, products) is done by the neuron that receives them, from what it holds. Batch normalization is
    folded into convolutions first. With thresholds of 0 the features are those of the network, to rounding.

    What is computed here is ``W h_t`` of the values ``h`` that receivers hold, for all images at once: equal to the sum
    above, and free of its rounding, which would add up over a long stream. Operations are counted as those of ``d_t``.

    Attributes:
        names: Of the values that are sent, in the order of the network; the first one is ``images``.

    Args:
        network: From images ``(T, 3, S, S)`` to features ``(T, D)``, in evaluation mode. It is copied.
        thresholds: By name; 0 where a name is missing.

    Raises:
        ConfigError: the network has parts that cannot be coded so, or a threshold is negative or of an unknown name.
    """

    def __init__(self, network: nn.Module, thresholds: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.graph_module = _trace(network)
        self.names = tuple(_name_sent(self.graph_module))
        thresholds = dict(thresholds or {})
        if unknown := sorted(thresholds.keys() - set(self.names)):
            raise ConfigError(f"{KEY}: the network sends no value {unknown[0]!r}; it has {', '.join(self.names)}")
        self.coders = nn.ModuleList(SigmaDelta(thresholds.get(name, 0.0)) for name in self.names)

    def forward(self, images: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Features ``(T, D)`` of images that follow one another ``(T, 3, S, S)``, and the state after the last one.

        Raises:
            ValueError: operations are counted from another state than that before a clip.
            WorkError: a value is not finite.
        """
        if state is not None and counting.is_counting():
            raise ValueError("operations are counted of whole clips, from their first image on")
        run = _Run(self, state)
        features: Tensor = run.run(images)
        return features, tuple(run.after[name] for name in self.names)

    @property
    def thresholds(self) -> dict[str, float]:
        """By name."""
        return {name: coder.threshold for name, coder in zip(self.names, self.list_coders(), strict=True)}

    def list_coders(self) -> list[SigmaDelta]:
        """In the order of ``names``."""
        return [coder for coder in self.coders if isinstance(coder, SigmaDelta)]

    def measure(self, images: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """Of each value its deviation over all images, and what it costs to send all of it once, in operations.

        That is one update of each neuron, and the products of the layers that receive it.
        """
        run = _Run(self, None, measures=True)
        run.run(images)
        costs = {name: float(run.sizes[name]) for name in self.names}
        for layer, macs in run.macs.items():
            for source in self._sources(layer):
                costs[_name(source)] += macs
        return run.spreads, costs

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        """The sent values that a node receives, by way of what only chooses or rearranges them."""
        found, waiting, seen = [], list(node.all_input_nodes), set[fx.Node]()
        while waiting:
            source = waiting.pop()
            if source in seen:
                continue
            seen.add(source)
            if _name(source) in self.names:
                found.append(source)
            else:
                waiting += source.all_input_nodes
        return found


class _Run(fx.Interpreter):
    """One run over images that follow one another.

    Attributes:
        after: What receivers hold after the last image, by name of the value.
        sizes: Numbers of each value at one image; where it ``measures``, as the following.
        spreads: The deviation of each value.
        macs: Products at one image of each node with weights.
    """

    def __init__(self, network: SigmaDeltaNetwork, state: State | None, *, measures: bool = False) -> None:
        super().__init__(network.graph_module)
        self.measures = measures
        self.extra_traceback = False  # it would stand in the messages of errors
        self.coders = dict(zip(network.names, network.list_coders(), strict=True))
        self.before = dict(zip(network.names, state or (None,) * len(network.names), strict=True))
        self.after: dict[str, SigmaDeltaState] = {}
        self.sizes: dict[str, int] = {}
        self.spreads: dict[str, float] = {}
        self.macs: dict[fx.Node, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; of one that is sent, what receivers hold."""
        value = super().run_node(n)
        if self.measures and n.op == "call_module" and isinstance(layer := self.fetch_attr(str(n.target)), _WEIGHTED):
            self.macs[n] = value[0].numel() * layer.weight[0].numel()
        return self.send(_name(n), value) if _name(n) in self.coders else value

    def send(self, name: str, values: Tensor) -> Tensor:
        """What receivers hold of ``values`` (T, ...), channels last as convolutions like them."""
        if self.measures:
            self.sizes[name], self.spreads[name] = values[0].numel(), float(values.std(correction=0))
        is_image = values.ndim == 4
        laid = values.permute(0, 2, 3, 1) if is_image else values
        try:
            held, self.after[name] = self.coders[name](laid.unsqueeze(0), self.before[name])
        except ValueError as error:
            raise WorkError(f"{KEY}: {name}: {error}: are the backbone's weights whole (backbone.weights)?") from None
        held = held.squeeze(0)
        if counting.is_counting():
            changes = _differ(held)
            counting.count_events(name, changes[0].numel(), [int(change.count_nonzero()) for change in changes])
        receiver: Tensor = held.permute(0, 3, 1, 2) if is_image else held
        return receiver

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A layer with weights is counted by the changes of what it takes in, image by image."""
        layer = self.fetch_attr(target)
        if not counting.is_counting() or not isinstance(layer, _WEIGHTED):
            return super().call_module(target, args, kwargs)
        with counting.count_elsewhere():
            result = layer(*args)
        with counting.by_changes():
            for change in _differ(args[0]).unsqueeze(1):
                if isinstance(layer, nn.Linear):
                    nn.functional.linear(change, layer.weight)
                else:
                    layer._conv_forward(change, layer.weight, None)
        return result


def _differ(values: Tensor) -> Tensor:
    """The change of values (T, ...) at each step, from 0 at first."""
    return torch.diff(values, dim=0, prepend=torch.zeros_like(values[:1]))


def _trace(network: nn.Module) -> fx.GraphModule:
    """The network's graph, with batch normalization folded into convolutions.

    Raises:
        ConfigError: it cannot be traced.
    """
    refusal = f"{KEY}: this network cannot be coded: its graph cannot be read"
    traced = read_graph(copy.deepcopy(network), lambda why: ConfigError(f"{refusal} ({why})"))
    _fold(traced)
    return traced.eval().requires_grad_(False)


def _fold(traced: fx.GraphModule) -> None:
    """Fold batch normalization into the convolution before it, where both are used once."""
    modules = dict(traced.named_modules())
    uses = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.op == "call_module" else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        normalization, convolution = modules[str(node.target)], modules[str(before.target)]
        if not isinstance(normalization, nn.BatchNorm2d) or not isinstance(convolution, nn.Conv2d):
            continue
        if uses[node.target] == uses[before.target] == 1 and normalization.running_mean is not None:
            owner, _, name = str(before.target).rpartition(".")
            setattr(traced.get_submodule(owner), name, fuse_conv_bn_eval(convolution, normalization))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()


def _name_sent(traced: fx.GraphModule) -> list[str]:
    """Names of the nodes whose values are sent, in the order of the graph.

    Raises:
        ConfigError: a node is of a kind that cannot be coded.
    """
    kinds = {node: _sort(traced, node) for node in traced.graph.nodes}
    receivers = [node for node, kind in kinds.items() if kind in ("receives", "chooses")]
    waiting = [source for node in receivers for source in node.all_input_nodes]
    sent: set[fx.Node] = set()
    seen: set[fx.Node] = set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if kinds[source] == "rearranges":
            waiting += source.all_input_nodes
        elif kinds[source] != "chooses":  # of what was sent, which changes when that does
            sent.add(source)
    return [_name(node) for node in traced.graph.nodes if node in sent]


def _name(node: fx.Node) -> str:
    """Of the value that a node makes."""
    return IMAGES if node.op == "placeholder" else node.name


def _sort(traced: fx.GraphModule, node: fx.Node) -> str:
    """What a node does: it ``receives`` values that were sent, ``chooses`` or ``rearranges`` them, or makes a value.

    Raises:
        ConfigError: it is of another kind.
    """
    if node.op in ("placeholder", "output"):
        return "makes"
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        kind = type(module).__name__
        if isinstance(module, _WEIGHTED):
            return "receives"
    else:
        kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        kind = "parameter" if node.op == "get_attr" else kind.strip("_")
    if kind in _AVERAGES or (kind in _PRODUCTS and len(node.all_input_nodes) > 1):
        return "receives"
    for kinds, does in ((_CHOOSES, "chooses"), (_REARRANGES, "rearranges"), (_POINTWISE | _PRODUCTS, "makes")):
        if kind in kinds:
            return does
    raise ConfigError(f"{KEY}: this network cannot be coded: {node.name} is of the kind {kind}")
