"""The processes that ``torchrun`` started for one run: which of them this one is, and what they tell each other.

Process 0 writes, prints and fits what is fitted at once; all train, extract and test. Started in any other way there is
one process, it is process 0, and everything here does nothing.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")
PATIENCE = timedelta(days=7)  # one may extract long while others wait; of one that died, torchrun ends the others


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ["RANK"]) if _launched() else 0


def world_size() -> int:
    """How many processes there are, on all machines."""
    return int(os.environ["WORLD_SIZE"]) if _launched() else 1


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if _launched() else 0


def local_world_size() -> int:
    """How many processes there are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _launched() else 1


def is_main() -> bool:
    """Whether this is process 0."""
    return rank() == 0


def restarts() -> int:
    """How often ``torchrun`` has started these processes again after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) if _launched() else 0


@contextmanager
def group() -> Iterator[None]:
    """Inside, the processes hear each other; only process 0 logs what is no error."""
    import torch.distributed as dist

    # Before there is a group: it takes the default group of the moment of its import for its functions' defaults. The
    # group's threads would outlive the group, to the end of the interpreter, and now and then abort the process there.
    import torch.distributed.nn  # noqa: F401
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if world_size() == 1 or dist.is_initialized():
        yield
        return
    package = logging.getLogger("snn_action")
    level = package.level
    if not is_main():
        package.setLevel(logging.ERROR)
    backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"
    store, number, size = next(rendezvous("env://", timeout=PATIENCE))
    # torchrun keeps its store over restarts, with the addresses of those that died: each start has its own part of it.
    store = PrefixStore(f"start {restarts()}", store)
    dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()
        package.setLevel(level)


def broadcast_object(make: Callable[[], T]) -> T:
    """What ``make`` gives in process 0, in all of them; the others do not call it."""
    if not is_together():
        return make()
    import torch.distributed as dist

    told: list[Any] = [make() if is_main() else None]
    dist.broadcast_object_list(told)
    result: T = told[0]
    return result


def all_gather_object(own: T) -> list[T]:
    """What each process has, in all of them, by number."""
    if not is_together():
        return [own]
    import torch.distributed as dist

    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, own)
    return everyone


def join(own: Mapping[K, T]) -> dict[K, T]:
    """What all processes have together, in all of them; of what several have, the first one's."""
    return {key: value for part in reversed(all_gather_object(own)) for key, value in part.items()}


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """Process 0 does what is inside before the others do."""
    if not is_main():
        all_gather_object(None)
    yield
    if is_main():
        all_gather_object(None)


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_together() -> bool:
    """Whether there are several processes, inside ``group``."""
    if world_size() == 1:
        return False
    import torch.distributed as dist

    return dist.is_initialized()
