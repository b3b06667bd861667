"""A backbone cut in two at a layer: what is before it stays frozen, the rest is trained with the temporal model.

The frozen part is a backbone of its own, whose features are the activations where it ends, laid flat; so the feature
store keeps them. The rest is an encoder (``models.encoder``). Cut at ``"all"``, the frozen part hands images on as they
are, in whole numbers; at ``"head"`` it is the whole backbone, and there is no rest.

A layer is found in the graph that ``torch.fx`` makes of the network: it must be one that a single tensor leads to, so
none inside a residual block.
"""

import copy
import difflib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from snn_action.backbones.base import Backbone, check_size
from snn_action.backbones.graph import read_graph
from snn_action.backbones.spiking_cnn import OfWindows
from snn_action.core.errors import ConfigError
from snn_action.models.encoder import Encoder, FrameEncoder

ALL, HEAD = "all", "head"
WRAPPED = "network"  # inside a network that puts windows of images into another order


class FrozenPart(Backbone):
    """A backbone up to a layer.

    Attributes:
        whole: Digest of the weights of the whole backbone.
        encoder: The rest; None: there is none.
        is_empty: It hands images on as they are.
    """

    def __init__(
        self, network: nn.Module, backbone: Backbone, dim: int, train_from: str, encoder: Encoder | None
    ) -> None:
        super().__init__(
            network,
            name=backbone.name,
            feature_dim=dim,
            input_size=backbone.input_size,
            mean=backbone.mean,
            std=backbone.std,
            provenance=backbone.provenance,
            # a state that runs through the clip sees each image once
            window=1 if isinstance(backbone.network, OfWindows) and train_from == ALL else backbone.window,
        )
        self.is_empty = train_from == ALL
        self.options = {**backbone.options, "until": train_from}
        self.part_digest, self.digest = self.digest, backbone.digest
        self._encoder = (encoder,)  # in a tuple, as it is no part of the frozen network

    @property
    def encoder(self) -> Encoder | None:
        """The rest of the backbone, which is trained."""
        return self._encoder[0]

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """What determines activations: the frozen weights alone, and of images as they are nothing."""
        if self.is_empty:
            return "images", "", (), (), *([{"window": self.window}] if self.window > 1 else [])
        name, _, *rest = super().fingerprint
        return name, self.part_digest, *rest


def cut_backbone(backbone: Backbone, train_from: str, size: int) -> Backbone:
    """The frozen part of ``backbone`` for images of side ``size``, with the rest as its ``encoder``.

    Raises:
        ConfigError: no such layer, it lies inside a block, the network cannot be cut, or not take images of this size.
    """
    if not isinstance(backbone.network, OfWindows):  # lays itself out for any size, or says why not
        check_size(backbone, size)
    if train_from == HEAD:
        return FrozenPart(backbone.network, backbone, backbone.feature_dim, HEAD, None)
    shape = (*((backbone.window,) if backbone.window > 1 else ()), 3, size, size)
    if train_from == ALL:
        encoder = _make_encoder(backbone, size, shape)
        return FrozenPart(nn.Identity(), backbone, torch.Size(encoder.shape).numel(), ALL, encoder)
    if isinstance(backbone.network, OfWindows):
        raise ConfigError(
            "model.train_from: neurons of 'spiking_cnn' keep a state from frame to frame, which a cached part could not"
            " have: train it from 'all', or only a new 'head'"
        )
    before, after = split_network(backbone.network, train_from, backbone.name)
    with torch.no_grad():
        activations: Tensor = before(torch.zeros(1, *shape))
    own = tuple(activations.shape[1:])
    if not any(True for _ in after.parameters()):
        raise ConfigError(
            f"model.train_from: no layer of {backbone.name} from {train_from!r} on has weights: everything before the "
            "temporal model would be frozen; name an earlier layer, or 'head'"
        )
    rest = FrameEncoder(after, own, backbone.feature_dim, is_drawn=_is_drawn(backbone))
    frozen = nn.Sequential(before, nn.Flatten())
    return FrozenPart(frozen, backbone, activations.numel(), train_from, rest)


def _make_encoder(backbone: Backbone, size: int, shape: tuple[int, ...]) -> Encoder:
    if isinstance(backbone.network, OfWindows):
        encoder: Encoder = copy.deepcopy(backbone.network.encoder)
        encoder.lay_out(size)  # type: ignore[operator]
        return encoder
    return FrameEncoder(
        backbone.network,
        shape,
        backbone.feature_dim,
        mean=backbone.mean,
        std=backbone.std,
        is_drawn=_is_drawn(backbone),
    )


def _is_drawn(backbone: Backbone) -> bool:
    return backbone.provenance.get("trained_on") == "nothing"


def split_network(network: nn.Module, layer: str, name: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """What a network does before a layer, and from it on; ``name`` is the backbone's.

    Raises:
        ConfigError: no such layer, it lies inside a block, or the network cannot be traced.
    """
    way_out = "train it from 'all', or only a 'head'"
    traced = read_graph(
        network, lambda why: ConfigError(f"model.train_from: {name} cannot be cut at a layer ({why}): {way_out}")
    )
    nodes = list(traced.graph.nodes)
    places = {_name_layer(place): node for place, node in find_layers(nodes) if place not in (WRAPPED, ALL, HEAD)}
    cuts = {place: node for place, node in places.items() if _find_crossing(nodes, node) is not None}
    if layer not in cuts:
        inside = f"a layer inside a block of {name}, past which other values run" if layer in places else ""
        if places.get(layer) is nodes[1]:
            inside = f"where {name} begins, so nothing before it could stay frozen"
        near = [ALL] if places.get(layer) is nodes[1] else difflib.get_close_matches(layer, cuts, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join([ALL, HEAD, *(place for place in cuts if "." not in place or place.count(".") == 1)])
        raise ConfigError(f"model.train_from: {layer!r} is {inside or f'no layer of {name}'}; {hint}Known: {known}")
    first, crossing = cuts[layer], _find_crossing(nodes, cuts[layer])
    assert crossing is not None
    return _take(traced, nodes[: nodes.index(first)], None, crossing), _take(
        traced, nodes[nodes.index(first) : -1], crossing, nodes[-1].args[0]
    )


def _name_layer(place: str) -> str:
    """As the network that is wrapped names it."""
    return place.removeprefix(f"{WRAPPED}.")


def find_layers(nodes: list[fx.Node]) -> Iterator[tuple[str, fx.Node]]:
    """Each layer of a network by name, also one that holds others, and the first node that belongs to it."""
    seen: set[str] = set()
    for node in nodes:
        if not node.op.startswith("call"):
            continue
        for place in (*node.meta.get("nn_module_stack", ()), *([node.target] if node.op == "call_module" else [])):
            if place and place not in seen:
                seen.add(place)
                yield str(place), node


def _find_crossing(nodes: list[fx.Node], first: fx.Node) -> fx.Node | None:
    """The one value that is made before a node and used from it on; None: there are several, or it is the input."""
    place = nodes.index(first)
    late = set(nodes[place:])
    crossing = [node for node in nodes[:place] if node.op != "get_attr" and any(user in late for user in node.users)]
    return crossing[0] if len(crossing) == 1 and crossing[0].op != "placeholder" else None


def _take(traced: fx.GraphModule, nodes: list[fx.Node], given: fx.Node | None, result: Any) -> fx.GraphModule:
    """A network of some nodes alone, with weights of its own; ``given`` is what it gets, None: the network's input."""
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    if given is not None:
        copied[given] = graph.placeholder("activations")
    own = set(nodes)
    for node in traced.graph.nodes:
        if node in own or (node.op == "get_attr" and any(user in own for user in node.users)):
            copied[node] = graph.node_copy(node, copied.__getitem__)
    graph.output(fx.map_arg(result, copied.__getitem__))
    part = fx.GraphModule(copy.deepcopy(traced), graph)
    part.delete_all_unused_submodules()
    return part
