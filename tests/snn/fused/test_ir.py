"""Programs whose values are of the types that their instructions take, and how they are built."""

import pytest

from snn_action.snn.fused.builder import Builder
from snn_action.snn.fused.ir import Instruction, Program, UnknownOperationError, constant
from snn_action.snn.fused.operations import BOOL, FLOAT, INSTRUCTIONS, OVERLOADS, TABLE

ABOVE = Instruction("gt", (0, constant(0.5)))  # makes value 2 of two inputs


def test_values_have_types():
    choice = Instruction("where", (2, 0, 1))
    flags = Instruction("where", (2, 2, constant(True)))
    program = Program(2, (ABOVE, choice, flags), (3,))
    assert program.types == (FLOAT, FLOAT, BOOL, FLOAT, BOOL)


WRONG = {
    "a float where a bool is taken": ([Instruction("and", (0, 1))], "and takes a bool as value 0, not a float"),
    "a number as the condition": ([Instruction("where", (0, 0, 1))], "where takes a bool as value 0, not a float"),
    "a bool where a float is taken": ([ABOVE, Instruction("add", (0, 2))], "add takes a float as value 1, not a bool"),
    "a constant of another type": ([ABOVE, Instruction("or", (2, constant(1.0)))], "or takes a bool as value 1"),
    "a choice of both types": ([ABOVE, Instruction("where", (2, 2, 0))], "where takes a float as value 1, not a bool"),
    "too few values": ([Instruction("add", (0,))], "add takes 2 values, not 1"),
    "a bool as the result": ([ABOVE], "a result is a bool, not a float"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_program_with_a_value_of_another_type_is_refused(name):
    instructions, reason = WRONG[name]
    with pytest.raises(TypeError, match=reason):
        Program(2, tuple(instructions), (1 + len(instructions),))


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (Instruction("sin", (0,)), "sin is not an instruction of the table"),
        (Instruction("relu", (0,)), "relu is not an instruction of the table"),  # it is made of others
        (Instruction("neg", (2,)), "neg takes value 2, which is not known there"),
    ],
)
def test_a_program_of_what_is_not_known_is_refused(instruction, reason):
    with pytest.raises(ValueError, match=reason):
        Program(2, (instruction,), (0,))


def test_a_builder_refuses_a_float_for_a_bool_and_names_both_operations():
    builder = Builder(1)
    builder.source = "aten.logical_or.default"
    with pytest.raises(UnknownOperationError, match=r"aten.logical_or.default with a float where or takes a bool"):
        builder.translate(OVERLOADS[builder.source], [0, builder.emit("gt", 0, 0.0)])


def test_a_builder_takes_a_bool_for_a_float_as_0_or_1():
    builder = Builder(1)
    above = builder.emit("gt", 0, 0.5)
    program = builder.finish((builder.emit("mul", above, 0),))
    assert [instruction.name for instruction in program.instructions] == ["gt", "to_float", "mul"]


def test_an_entry_is_an_instruction_or_is_made_of_others():
    assert all((operation.lower is None) != (operation.expand is None) for operation in TABLE)
    assert len({operation.name for operation in TABLE}) == len(TABLE)
    assert sum(len(operation.aten) for operation in TABLE) == len(OVERLOADS)
    narrow = [operation.narrow[0] for operation in TABLE if operation.narrow]
    assert narrow
    assert set(narrow) <= set(INSTRUCTIONS)
