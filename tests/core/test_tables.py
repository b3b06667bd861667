"""Tables for people: every text comes back as it was, and none is a formula in a spreadsheet."""

import csv
import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snn_action.core.tables import defuse, read_table, restore, write_table

TEXTS = st.text(st.characters(codec="utf-8")) | st.text("'=+-@\t\r\n \N{FULLWIDTH EQUALS SIGN}\u2028\x00x,;\"")


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=3), max_size=4))
@example([["a\rb", "a\nb"], ["a\r\nb", "\u2028"], ["\x00", " a "], ["", ""]])
def test_rows_come_back_as_they_were(rows):
    text = write_table(rows)
    assert list(read_table(text)) == rows
    assert list(read_table(text.encode().decode())) == rows


@given(TEXTS)
def test_no_text_begins_as_a_formula(text):
    shown = defuse(text)
    assert restore(shown) == text
    bare = "".join(c for c in unicodedata.normalize("NFKC", shown) if c.isprintable() and not c.isspace())
    assert bare[:1] not in set("=+-@") or not bare
    assert shown[:1] not in ("\t", "\r", "\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1", "'+1"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("\N{ZERO WIDTH SPACE}=1", "'\N{ZERO WIDTH SPACE}=1"),
        ("\N{HANGUL FILLER}=1", "'\N{HANGUL FILLER}=1"),
        (
            "\N{BRAILLE PATTERN BLANK}\N{HALFWIDTH HANGUL FILLER}@x",
            "'\N{BRAILLE PATTERN BLANK}\N{HALFWIDTH HANGUL FILLER}@x",
        ),
        (
            "\N{VARIATION SELECTOR-16}\N{COMBINING GRAPHEME JOINER}-1",
            "'\N{VARIATION SELECTOR-16}\N{COMBINING GRAPHEME JOINER}-1",
        ),
        ("\N{FULLWIDTH EQUALS SIGN}1", "'\N{FULLWIDTH EQUALS SIGN}1"),
        ("'=1", "''=1"),
        ("'tis", "'tis"),
        ("walk-run", "walk-run"),
        ("", ""),
    ],
)
def test_what_is_defused(text, shown):
    assert defuse(text) == shown
    assert restore(shown) == text


def test_numbers_stay_numbers():
    assert write_table([["a", -1, 0.5]]) == "a,-1,0.5\n"


def test_broken_text_is_an_error():
    with pytest.raises(csv.Error):
        list(read_table('a,"b'))
    assert list(read_table("a,b\r\nc,d\r\n")) == [["a", "b"], ["c", "d"]] == [*csv.reader(io.StringIO("a,b\nc,d\n"))]
