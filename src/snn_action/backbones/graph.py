"""The graph of a network: its operations in order, which can be cut in two, or run in another way."""

from collections.abc import Callable

from torch import fx, nn


def read_graph(network: nn.Module, refuse: Callable[[str], Exception]) -> fx.GraphModule:
    """The graph that ``torch.fx`` makes of a network of one argument; its weights stay those of the network.

    Further arguments (an attention mask) are never given: their defaults stand in their places.

    Raises:
        Exception: what ``refuse`` makes of the reason, where the network's course depends on its numbers, or the like.
    """
    try:
        return _fix_defaults(fx.symbolic_trace(network))
    except Exception as error:  # of many kinds
        raise refuse((str(error).strip() or type(error).__name__).splitlines()[0]) from error


def _fix_defaults(traced: fx.GraphModule) -> fx.GraphModule:
    """The same graph without the arguments that have defaults."""
    optional = {node: node.args[0] for node in traced.graph.nodes if node.op == "placeholder" and node.args}
    for node in traced.graph.nodes:
        node.args, node.kwargs = fx.map_arg((node.args, node.kwargs), lambda given: optional.get(given, given))
    for node in optional:
        traced.graph.erase_node(node)
    traced.recompile()
    return traced
