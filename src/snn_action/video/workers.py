"""Work on videos in processes of their own: a crash or a hang costs one video, which is named, and nothing else.

Each worker has a pipe and at most one item, and gets the next one when its answer has been taken: so an answer is never
lost with a worker, and it is always clear which item killed it or kept it too long. Another worker takes its place.

``pebble.ProcessPool`` 5.2 has one pipe for all workers: one that is killed while it sends (by the system, when memory
is short) makes the caller wait for ever, and one that is killed while idle breaks the pool. The tests try both.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

TIMEOUT_KEY = "features.limits.timeout"
AHEAD = 2  # items for each worker, of which a later one may be done before an earlier one
# Forked workers need not import anything, nor run the caller's script again, as spawned ones would.
_CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else None)


@dataclass(frozen=True)
class Failure:
    """Why there is no result."""

    reason: str


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    place: int | None = None  # of the item that it works on
    since: float = 0.0  # when that was given

    def give(self, place: int, item: Any) -> None:
        self.place, self.since = place, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle: found when its answer is awaited
            self.pipe.send(item)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def map_apart(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, timeout: float
) -> Iterator[Result | Failure]:
    """``function`` of each item in order, or why there is none, computed ahead by ``workers`` processes.

    An exception, the death of a process and an item that takes longer than ``timeout`` seconds each cost the item.
    The processes start at once, before the caller starts threads; they end with the iterator or with the caller.
    Items are asked for when a process is free, by the caller's thread.

    A daemonic process, such as a worker of ``multiprocessing.Pool``, may start no others: then the caller works itself,
    and only exceptions cost the item alone; a line says so.

    Raises:
        ValueError: ``workers`` is less than 1.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers cannot work")
    if is_daemonic():
        logger.warning(
            "this is a daemonic process (of a pool?), which may start no others: videos are decoded in it, and a crash "
            "or a hang of the decoder is one of the whole process"
        )
        return (_answer(function, item) for item in items)
    answers = _work(function, items, min(workers, len(items)) if isinstance(items, Sized) else workers, timeout)
    next(answers)  # runs up to where all workers have been started
    return answers  # type: ignore[return-value]  # only the first is None


def is_daemonic() -> bool:
    """Whether this process may not start others."""
    return multiprocessing.current_process().daemon


def _work(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, timeout: float
) -> Iterator[Result | Failure | None]:
    team: list[_Worker] = []
    answers: dict[int, Result | Failure] = {}
    coming = enumerate(items)
    begun, all_begun = 0, not workers  # nobody is needed where there are no items
    try:
        for _ in range(workers):
            team.append(_start(function, team))
        yield None
        for place in count():
            patience = 0.0  # first only look, so that nobody is idle while the caller works on what is there
            while True:
                _take(team, answers, patience, timeout)
                for position, worker in enumerate(team):
                    if worker.process is None:
                        others = [other for other in team if other.process is not None]
                        team[position] = worker = _start(function, others)
                    if worker.place is None and not all_begun and begun < place + AHEAD * workers:
                        number, item = next(coming, (None, None))
                        if number is None:
                            all_begun = True
                        else:
                            worker.give(number, item)
                            begun = number + 1
                if place in answers:
                    break
                if all_begun and place == begun:
                    return
                patience = timeout
            yield answers.pop(place)
    finally:
        for worker in team:
            if worker.process is not None:
                worker.stop()


def _take(team: Sequence[_Worker], answers: dict[int, Any], patience: float, timeout: float) -> None:
    """Take the answers that are there, waiting for one; stop workers that died or are late."""
    busy = [worker for worker in team if worker.place is not None]
    if not busy:
        return
    ends = min(worker.since for worker in busy) + timeout
    ready = wait([worker.pipe for worker in busy], max(0.0, min(patience, ends - time.monotonic())))
    for worker in busy:
        assert worker.place is not None
        if worker.pipe in ready:
            try:
                answers[worker.place] = worker.pipe.recv()
            except (OSError, EOFError):
                worker.process.join()
                answers[worker.place] = Failure(f"the decoder crashed ({_name_end(worker.process.exitcode)})")
                worker.stop()
                worker.process = None
        elif time.monotonic() - worker.since > timeout:
            answers[worker.place] = Failure(f"the decoder hangs: given up after {timeout:g} s; see {TIMEOUT_KEY}")
            worker.stop()
            worker.process = None
        else:
            continue
        worker.place = None


def _name_end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _start(function: Callable[[Item], Result], others: Sequence[_Worker]) -> _Worker:
    own, theirs = _CONTEXT.Pipe()
    inherited = [own, *(other.pipe for other in others)] if _CONTEXT.get_start_method() == "fork" else []
    process = _CONTEXT.Process(target=_serve, args=(function, theirs, inherited), daemon=True)
    with warnings.catch_warnings():
        # a worker that takes another's place may be forked beside threads; it uses one thread and none of their locks
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return _Worker(process, own)


def _serve(function: Callable[[Item], Result], pipe: Connection, inherited: Sequence[Connection]) -> None:
    """What a worker does: answer items until the caller closes the pipe, or dies."""
    for other in inherited:  # else a pipe would stay open that the caller has closed
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, who stops the workers
    threading.Thread(target=_die_with_the_caller, daemon=True).start()
    if sys.platform != "win32":
        os.nice(5)  # let the network go first: its threads wait for one another; more would starve beside other work
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # the workers are the parallelism
    while True:
        try:
            item = pipe.recv()
        except (OSError, EOFError):
            return
        answer = _answer(function, item)
        with contextlib.suppress(OSError):  # the caller was killed: nobody wants to know
            pipe.send(answer)


def _answer(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    try:
        return function(item)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


def _die_with_the_caller() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
