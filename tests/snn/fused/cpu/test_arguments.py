import ctypes

import numba
import pytest

from snn_action.snn.fused.cpu import arguments, machine_code
from snn_action.snn.fused.cpu.arguments import ArrayBackward, ArrayBackwardOfRates, ArrayForward, States, Weights

COUNTS = {arguments.ArrayForward: 16, ArrayBackwardOfRates: 16, ArrayBackward: 17} | {
    arguments.NeuronsForward: 7,
    arguments.NeuronsBackward: 11,
}


@pytest.mark.parametrize("structure", COUNTS)
def test_a_structure_is_made_of_as_many_integers_as_it_has_places(structure):
    count = arguments.count(structure)
    assert count == COUNTS[structure]
    unpacked = arguments.unpack(structure, range(count))
    assert flatten(unpacked) == list(range(count))


def flatten(structure) -> list[int]:
    return [each for part in structure for each in (flatten(part) if isinstance(part, tuple) else [part])]


def test_places_of_inner_structures_have_their_names():
    given = arguments.unpack(ArrayForward, range(16))
    assert given.weights == Weights(gain=4, bias=5, decoder=6)
    assert given.before == States(address=8, row=9, apart=10)
    assert given.after == States(address=13, row=14, apart=15)


@numba.njit
def call_with_states(address, target):
    machine_code.call(address, (States(apart=3, address=target, row=2), 4))


def test_what_numba_names_is_what_machine_code_is_given():
    """Whatever the order in which it is written, and with one structure in another."""
    from llvmlite import ir

    number = ir.IntType(64)

    def emit(builder, integers):
        address, row, apart, last = integers
        pointer = builder.inttoptr(address, number.as_pointer())
        total = builder.add(builder.mul(row, ir.Constant(number, 100)), builder.mul(apart, ir.Constant(number, 10)))
        builder.store(builder.add(total, last), pointer)

    result = ctypes.c_int64()
    call_with_states(machine_code.compile_function("digits", 4, emit), ctypes.addressof(result))
    assert result.value == 234
