"""A ration of memory for what is built from somebody else's settings: a small file must not make a huge network."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

LEAST = 2**28  # numbers that anything may make while it is built
TIMES = 64  # and so many for each number that it is to hold in the end


class _Ration(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers of each new tensor before it is made."""

    def __init__(self, numbers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = numbers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = args[0] if args else None
        if isinstance(size, list | tuple) and all(isinstance(side, int) for side in size):
            self.left -= math.prod(size)
            if self.left < 0:
                raise ValueError("these settings describe a network much larger than the weights that come with them")
        return func(*args, **(kwargs or {}))


@contextmanager
def ration(numbers: int) -> Iterator[None]:
    """Build something inside that holds so many ``numbers``; new tensors are counted, those computed from them not.

    Raises:
        ValueError: far more is about to be made.
    """
    with _Ration(LEAST + TIMES * numbers):
        yield
