import logging
import os
import random
import sqlite3
from pathlib import Path

import pytest

from snn_action.core import database as module
from snn_action.core.database import Database
from snn_action.core.errors import WorkError

TABLES = "CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
ROWS = [(f"{number:06d}", "x" * 20) for number in range(2000)]


def connect(path: Path) -> Database:
    database = Database(path, TABLES, 3, "the index", "features.index names another file")
    database.refill = lambda: database.put("INSERT OR REPLACE INTO things VALUES (?, ?)", ROWS)
    return database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite"
    database = connect(path)
    database.refill()
    database.close()
    return path


def read(database: Database) -> list[tuple[str, str]]:
    return database.run(lambda connection: connection.execute("SELECT * FROM things ORDER BY name").fetchall())


def test_damage_that_is_met_after_opening_is_mended(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = connect(path)
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = random.Random(0).randbytes(len(content) - 4096 * 2)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read(database) == ROWS
    assert caplog.text.count("made anew") == 1
    assert path.with_name("index.sqlite.broken").read_bytes() == content
    database.close()
    assert read(connect(path)) == ROWS


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_anywhere_end_in_an_answer(path: Path, seed: int) -> None:
    rng, content = random.Random(seed), bytearray(path.read_bytes())
    at = rng.randrange(len(content) - 64)
    content[at : at + 64] = rng.randbytes(64)
    path.write_bytes(content)
    database = connect(path)
    database.check()
    assert len(read(database)) in (0, len(ROWS))  # made anew when it was opened, or filled
    database.close()


def test_a_foreign_file_is_kept_untouched(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    content = path.read_bytes()
    for number in range(2):
        connect(path).close()
        assert path.with_name(f"index.sqlite.broken{'.1' if number else ''}").read_bytes() == content
        path.write_bytes(content)


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "dangling"])
def test_what_is_no_file_is_moved_out_of_the_way(path: Path, kind: str) -> None:
    target = path.with_name("target")
    path.rename(target)
    content = target.read_bytes()
    if kind == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target if kind == "link" else path.with_name("nowhere"))
    connect(path).close()
    assert path.is_file()
    assert not path.is_symlink()
    assert os.path.lexists(path.with_name("index.sqlite.broken"))
    assert target.read_bytes() == content
    assert not path.with_name("nowhere").exists()


def test_a_locked_file_is_said_to_be_locked_and_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    database = connect(path)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    for ask in (lambda: read(database), lambda: connect(path)):
        with pytest.raises(WorkError, match=r"index\.sqlite: the index is locked: another process .*features\.index"):
            ask()
    other.close()
    assert read(database) == ROWS
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_no_damage(path: Path) -> None:
    database = connect(path)
    database.run(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(WorkError, match=r"index\.sqlite: the index cannot be used \(database or disk is full\)"):
        database.put("INSERT INTO things VALUES (?, ?)", [(f"new {number}", "y" * 4000) for number in range(100)])
    assert read(database) == ROWS


def test_one_that_another_process_made_anew_is_not_moved_again(path: Path) -> None:
    one, two = connect(path), connect(path)
    one.make_anew("test")
    two.make_anew("test")
    assert {other.name for other in path.parent.iterdir()} == {"index.sqlite", "index.sqlite.broken"}
    assert read(two) == ROWS


def test_the_journal_of_what_lay_there_goes_with_it(path: Path) -> None:
    """SQLite would put its pages into the new file."""
    path.unlink()
    path.mkdir()
    path.with_name("index.sqlite-journal").write_bytes(b"pages")
    connect(path).close()
    assert path.with_name("index.sqlite-journal.broken").read_bytes() == b"pages"
