"""Tables for people, in CSV: any text comes back as it was, and none of it is a formula in a spreadsheet."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

_STARTS = frozenset("=+-@\N{MINUS SIGN}")  # of formulas

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and a symbol that show nothing


def defuse(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def restore(text: str) -> str:
    """What ``defuse`` was given; an apostrophe that it did not put there stays."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    """Whether it begins as a formula does, maybe after spaces and invisible characters, or in full-width forms."""
    if text[:1] in ("\t", "\r", "\n"):
        return True
    for character in text:
        if character.isspace() or not character.isprintable() or character in _BLANK:
            continue
        if unicodedata.category(character)[0] == "M":  # it is put onto a character that is not there
            continue
        return unicodedata.normalize("NFKC", character)[0] in _STARTS
    return False


def write_table(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV; texts are defused, numbers are not."""
    lines: list[str] = []
    sink: Any = SimpleNamespace(write=lines.append)
    writer = csv.writer(sink, lineterminator="\r\n")  # what ends a line is quoted: both characters are to be
    for row in rows:
        writer.writerow([defuse(cell) if isinstance(cell, str) else cell for cell in row])
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def read_table(text: str) -> Iterator[list[str]]:
    """The rows of CSV that ``write_table`` wrote, all cells as text.

    Raises:
        csv.Error: the text is broken.
    """
    for row in csv.reader(io.StringIO(text, newline=""), strict=True):
        yield [restore(cell) for cell in row]
