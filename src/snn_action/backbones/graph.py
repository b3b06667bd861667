"""The graph of a network: its operations in order, which can be cut in two, or run in another way."""

from collections.abc import Callable

from torch import fx, nn


def read_graph(network: nn.Module, refuse: Callable[[str], Exception]) -> fx.GraphModule:
    """The graph that ``torch.fx`` makes of a network; its weights stay those of the network.

    Raises:
        Exception: what ``refuse`` makes of the reason, where the network's course depends on its numbers, or the like.
    """
    try:
        return fx.symbolic_trace(network)
    except Exception as error:  # of many kinds
        raise refuse((str(error).strip() or type(error).__name__).splitlines()[0]) from error
