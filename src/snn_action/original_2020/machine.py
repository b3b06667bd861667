"""The state of a pickle that is being read: where it stands, its stack, its memo."""

import struct
from typing import Any

from snn_action.original_2020.numpy_pickle import ADMITTED, PickleError

_LARGE = 1 << 16  # contents from here on are not copied out of the file


class Machine:
    """The state of a pickle that is being read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.view = memoryview(data)
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def skip(self, count: int) -> int:
        """Go on by ``count`` bytes and return where they begin."""
        start, self.at = self.at, self.at + count
        if not start <= self.at <= len(self.data):
            raise PickleError("is broken: cut off, or no pickle")
        return start

    def number(self, layout: str) -> Any:
        """The number that stands next."""
        return struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout)))[0]

    def content(self, layout: str) -> bytes | memoryview:
        """The bytes that stand next, after their length."""
        count = self.number(layout)
        start = self.skip(count)
        return self.data[start : start + count] if count < _LARGE else self.view[start : start + count]

    def line(self) -> bytes:
        """The line that stands next, without its end."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise PickleError("is broken: cut off, or no pickle")
        start = self.skip(end + 1 - self.at)
        return self.data[start:end]

    def items(self) -> list[Any]:
        """All that was put on the stack since the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def pop(self, count: int) -> tuple[Any, ...]:
        """The topmost ``count`` values."""
        if len(self.stack) < count:
            raise PickleError("is broken: takes more values than it holds")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def admit(self, module: Any, name: Any) -> None:
        """Put what stands for ``module.name`` on the stack."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("is broken: names something by what is no text")
        full = f"{module}.{name}"
        if full not in ADMITTED:
            raise PickleError(
                f"names {full[:200]!r}, which is refused: only numbers, text, lists and numpy arrays of them are read. "
                "A data file has no need of it: do not open this file with anything else, or save its data anew"
            )
        self.stack.append(ADMITTED[full])
