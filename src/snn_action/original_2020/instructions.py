"""Runs a pickle, a program for a stack machine, as data: protocols 0 to 5, nothing called that is not admitted.

Python's own unpickler, even one that restricts names, lets a file of some bytes ask for any amount of memory (the
index of a memo, the length of a byte array). Here lengths are held against the file, and every part of an
instruction that plain data does not need is refused.
"""

import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from snn_action.original_2020.machine import Machine
from snn_action.original_2020.numpy_pickle import ADMITTED, Marker, PickledArray, PickledType, PickleError, check_key

Instruction = Callable[[Machine], None]

_FLOAT_RUN = np.dtype([("code", "u1"), ("value", ">f8")])
_INSTRUCTIONS: dict[int, Instruction] = {}


def run(data: bytes) -> Any:
    """The value that the pickle describes, with ``PickledArray`` where it holds arrays.

    Raises:
        PickleError: the pickle is broken or asks for what is not admitted.
    """
    machine = Machine(data)
    try:
        while (code := machine.data[machine.at]) != pickle.STOP[0]:
            machine.at += 1
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise PickleError(_describe(code))
            instruction(machine)
        value = machine.stack.pop()
    except PickleError:
        raise
    except IndexError:
        raise PickleError("is broken: cut off, or no pickle") from None
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, struct.error) as error:
        raise PickleError(f"is broken, or no pickle ({str(error)[:100]})") from None
    return value


def _describe(code: int) -> str:
    for instruction in pickletools.opcodes:
        if instruction.code == chr(code):
            return f"uses the instruction {instruction.name}, which is refused: plain data does not need it"
    return "is broken, or no pickle"


def _on(code: bytes) -> Callable[[Instruction], Instruction]:
    def register(instruction: Instruction) -> Instruction:
        _INSTRUCTIONS[code[0]] = instruction
        return instruction

    return register


def _push(code: bytes, make: Callable[[Machine], Any]) -> None:
    _INSTRUCTIONS[code[0]] = lambda machine: machine.stack.append(make(machine))


def _text(content: bytes | memoryview) -> str:
    return str(content, "utf-8", "surrogatepass")


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1] or b"\\" in line:
        raise PickleError("is broken: text without quotes, or with an escape")
    return line[1:-1].decode("ascii")


def _integer(line: bytes) -> int | bool:
    return line == b"01" if line in (b"00", b"01") else int(line)


for _code, _value in ((pickle.NONE, None), (pickle.NEWTRUE, True), (pickle.NEWFALSE, False), (pickle.EMPTY_TUPLE, ())):
    _push(_code, lambda _, value=_value: value)  # type: ignore[misc]
for _code, _layout in ((pickle.BININT, "<i"), (pickle.BININT1, "<B"), (pickle.BININT2, "<H")):
    _push(_code, lambda machine, layout=_layout: machine.number(layout))  # type: ignore[misc]
for _code, _layout in ((pickle.LONG1, "<B"), (pickle.LONG4, "<i")):
    _push(_code, lambda m, layout=_layout: int.from_bytes(m.content(layout), "little", signed=True))  # type: ignore[misc]
for _code, _layout in (
    (pickle.SHORT_BINUNICODE, "<B"),
    (pickle.BINUNICODE, "<I"),
    (pickle.BINUNICODE8, "<Q"),
):
    _push(_code, lambda machine, layout=_layout: _text(machine.content(layout)))  # type: ignore[misc]
for _code, _layout in (
    (pickle.SHORT_BINBYTES, "<B"),
    (pickle.BINBYTES, "<I"),
    (pickle.BINBYTES8, "<Q"),
    (pickle.BYTEARRAY8, "<Q"),
):
    _push(_code, lambda machine, layout=_layout: machine.content(layout))  # type: ignore[misc]
for _code, _layout in ((pickle.SHORT_BINSTRING, "<B"), (pickle.BINSTRING, "<i")):
    _push(_code, lambda machine, layout=_layout: str(machine.content(layout), "ascii"))  # type: ignore[misc]
_push(pickle.STRING, lambda machine: _quoted(machine.line()))
_push(pickle.UNICODE, lambda machine: machine.line().decode("raw-unicode-escape"))
_push(pickle.INT, lambda machine: _integer(machine.line()))
_push(pickle.LONG, lambda machine: int(machine.line().removesuffix(b"L")))
_push(pickle.FLOAT, lambda machine: float(machine.line()))
_push(pickle.EMPTY_LIST, lambda _: [])
_push(pickle.EMPTY_DICT, lambda _: {})
_push(pickle.EMPTY_SET, lambda _: set())
_push(pickle.LIST, lambda machine: machine.items())
_push(pickle.TUPLE, lambda machine: tuple(machine.items()))
_push(pickle.TUPLE1, lambda machine: machine.pop(1))
_push(pickle.TUPLE2, lambda machine: machine.pop(2))
_push(pickle.TUPLE3, lambda machine: machine.pop(3))
_push(pickle.FROZENSET, lambda machine: frozenset(map(check_key, machine.items())))
_push(pickle.DUP, lambda machine: machine.stack[-1])
_push(pickle.GET, lambda machine: machine.memo[int(machine.line())])
_push(pickle.BINGET, lambda machine: machine.memo[machine.number("<B")])
_push(pickle.LONG_BINGET, lambda machine: machine.memo[machine.number("<I")])


@_on(pickle.BINFLOAT)
def _floats(machine: Machine) -> None:
    """A float, and all that follow it at once: long lists of floats are what the original's files are made of."""
    machine.stack.append(machine.number(">d"))
    run = 1
    while machine.data[machine.at : machine.at + 1] == pickle.BINFLOAT:
        count = min(run, (len(machine.data) - machine.at) // _FLOAT_RUN.itemsize)
        if not count:
            break
        floats = np.frombuffer(machine.data, _FLOAT_RUN, count, machine.at)
        others = np.flatnonzero(floats["code"] != pickle.BINFLOAT[0])
        count = int(others[0]) if others.size else count
        machine.stack.extend(floats["value"][:count].tolist())
        machine.at += count * _FLOAT_RUN.itemsize
        run = min(4 * run, 4096)


@_on(pickle.PROTO)
def _check_protocol(machine: Machine) -> None:
    if machine.number("<B") > 5:
        raise PickleError("is of a protocol newer than 5")


@_on(pickle.FRAME)
def _pass_frame(machine: Machine) -> None:
    machine.skip(8)


@_on(pickle.MARK)
def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


@_on(pickle.POP)
def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


@_on(pickle.POP_MARK)
def _pop_mark(machine: Machine) -> None:
    machine.items()


@_on(pickle.MEMOIZE)
def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@_on(pickle.PUT)
def _put(machine: Machine) -> None:
    machine.memo[int(machine.line())] = machine.stack[-1]


@_on(pickle.BINPUT)
def _put_short(machine: Machine) -> None:
    machine.memo[machine.number("<B")] = machine.stack[-1]


@_on(pickle.LONG_BINPUT)
def _put_long(machine: Machine) -> None:
    machine.memo[machine.number("<I")] = machine.stack[-1]


def _extend(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise PickleError("is broken: appends to something else than a list")
    target.extend(items)


def _fill(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not dict or len(items) % 2:
        raise PickleError("is broken: sets items of something else than a dictionary")
    target.update(zip(map(check_key, items[::2]), items[1::2], strict=True))


@_on(pickle.APPEND)
def _append(machine: Machine) -> None:
    _extend(machine, list(machine.pop(1)))


@_on(pickle.APPENDS)
def _append_all(machine: Machine) -> None:
    _extend(machine, machine.items())


@_on(pickle.SETITEM)
def _set_item(machine: Machine) -> None:
    _fill(machine, list(machine.pop(2)))


@_on(pickle.SETITEMS)
def _set_items(machine: Machine) -> None:
    _fill(machine, machine.items())


@_on(pickle.DICT)
def _make_dict(machine: Machine) -> None:
    items = machine.items()
    machine.stack.append({})
    _fill(machine, items)


@_on(pickle.ADDITEMS)
def _add_items(machine: Machine) -> None:
    items = machine.items()
    target = machine.stack[-1]
    if type(target) is not set:
        raise PickleError("is broken: adds to something else than a set")
    target.update(map(check_key, items))


@_on(pickle.GLOBAL)
def _global(machine: Machine) -> None:
    module, name = (machine.line().decode("utf-8") for _ in range(2))
    machine.admit(module, name)


@_on(pickle.STACK_GLOBAL)
def _stack_global(machine: Machine) -> None:
    machine.admit(*machine.pop(2))


@_on(pickle.INST)
def _instance(machine: Machine) -> None:
    _global(machine)
    raise PickleError(_describe(pickle.INST[0]))


@_on(pickle.REDUCE)
def _call(machine: Machine) -> None:
    maker, arguments = machine.pop(2)
    if not any(maker is admitted for admitted in ADMITTED.values()) or isinstance(maker, Marker):
        raise PickleError("is broken: calls something that is no function")
    if type(arguments) is not tuple:
        raise PickleError("is broken: calls a function without arguments")
    machine.stack.append(maker(*arguments))


@_on(pickle.BUILD)
def _build(machine: Machine) -> None:
    (state,) = machine.pop(1)
    target = machine.stack[-1]
    if not isinstance(target, (PickledArray, PickledType)):
        raise PickleError("is broken: sets the state of something else than an array")
    target.set_state(state)
