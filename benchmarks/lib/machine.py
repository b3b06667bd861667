"""What the machine itself can do, against which speed is held: products of matrices, operations on vectors."""

import numba
import numpy as np
import torch

from benchmarks.lib.timing import time_of
from snn_action.snn.fused.cpu.machine_code import call, compile_function
from snn_action.snn.fused.cpu.vector import LANES, Memory, Vector, constant, fma, loop

FORWARD, BACKWARD = 6, 12  # vector operations that a neuron-step of an array is allowed
CHAINS, TURNS = 12, 1_000_000


def measure_product() -> float:
    """Multiply-adds a second of a large single-precision matrix product."""
    size = 3000
    a, b = torch.randn(size, size), torch.randn(size, size)
    return size**3 / time_of(lambda: a @ b)


def measure_vector() -> float:
    """Multiply-adds a second, of single numbers, of a loop over vectors in registers on all threads."""
    threads = torch.get_num_threads()
    chains = compile_function("multiply_add", 2, _multiply_add)
    return threads * TURNS * CHAINS * LANES / time_of(lambda: _run_chains(chains, TURNS, threads))


def _multiply_add(builder, places) -> None:
    """turns, room: ``CHAINS`` vectors, each multiplied and added to again and again."""
    factor, summand = constant(0.5), constant(1.0)

    def body(_, carried: list[Vector]) -> list[Vector]:
        return [fma(builder, vector, factor, summand) for vector in carried]

    last = loop(builder, places[0], [constant(float(i)) for i in range(CHAINS)], body)
    for i, vector in enumerate(last):
        Memory(builder, places[1]).store(i, vector)


@numba.njit(parallel=True)
def _run_chains(chains: int, turns: int, threads: int) -> None:
    for _ in numba.prange(threads):
        room = np.empty(CHAINS * LANES, np.float32)
        call(chains, (turns, room.ctypes.data))
        room[:] = 0
