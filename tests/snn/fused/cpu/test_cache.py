import logging
import os

import pytest

from snn_action.snn.fused.cpu import cache, loops


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.INFO)
    cache.say.cache_clear()
    yield tmp_path
    cache.say.cache_clear()


def test_a_folder_is_made_for_the_user_alone(place):
    before = os.umask(0)
    try:
        folder = cache.find_folder("some")
    finally:
        os.umask(before)
    assert folder == place / "snn_action" / "machine_code" / "some"
    assert [part.stat().st_mode & 0o777 for part in (folder, folder.parent)] == [0o700, 0o700]
    cache.write(folder / "file", b"code")
    assert cache.read(folder / "file") == b"code"
    assert cache.find_folder("some") == folder


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o755])
def test_a_folder_that_others_may_enter_is_not_used(mode, caplog):
    folder = cache.find_folder("some")
    for part in (folder, folder.parent):
        part.chmod(mode)
        assert cache.find_folder("some") is None
        part.chmod(0o700)
    assert "other users may enter it" in caplog.text


@pytest.mark.parametrize("what", ["folder", "file", "file within"])
def test_what_belongs_to_another_user_is_not_used(what, monkeypatch, caplog):
    folder = cache.find_folder("some")
    (folder / "inner").mkdir()
    path = {"folder": folder, "file": folder / "file", "file within": folder / "inner" / "file"}[what]
    if path != folder:
        path.write_bytes(b"code")
    own, lstat = os.geteuid(), type(path).lstat

    def lstat_as_if_anothers(self):
        found = lstat(self)
        fields = list(found)
        fields[4] = own + 1 if self == path else found.st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(type(path), "lstat", lstat_as_if_anothers)
    assert cache.find_folder("some") is None
    assert f"{path}: belongs to another user" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files to another user")
def test_a_file_of_nobody_is_not_used():
    folder = cache.find_folder("some")
    (folder / "code").write_bytes(b"code")
    os.chown(folder / "code", 65534, 65534)
    (folder / "code").chmod(0o666)
    assert cache.find_folder("some") is None
    with pytest.raises(OSError, match="belongs to another user"):
        cache.read(folder / "code")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files to another user")
def test_a_folder_above_that_belongs_to_another_user_is_not_trusted(place, caplog):
    os.chown(place, 65534, 65534)
    assert cache.find_folder("some") is None
    assert f"{place}: belongs to another user" in caplog.text


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_not_used(mode, caplog):
    folder = cache.find_folder("some")
    cache.write(folder / "code", b"code")
    (folder / "code").chmod(mode)
    assert cache.find_folder("some") is None
    assert "may be written by other users" in caplog.text
    with pytest.raises(OSError, match="may be written by other users"):
        cache.read(folder / "code")


@pytest.mark.parametrize(("mode", "used"), [(0o777, False), (0o775, False), (0o1777, True), (0o755, True)])
def test_a_folder_above_where_others_may_put_another_is_not_trusted(place, mode, used, caplog):
    place.chmod(mode)
    assert (cache.find_folder("some") is not None) == used
    assert used or f"{place}: may be written by other users" in caplog.text


def test_a_place_behind_a_link_is_held_to_where_it_leads(place, monkeypatch, caplog):
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    (place / "open" / "inner").mkdir()
    (place / "link").symlink_to(place / "open" / "inner")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "link"))
    assert cache.find_folder("some") is None
    assert "may be written by other users" in caplog.text


def test_a_second_name_and_a_pipe_are_not_used(place):
    folder = cache.find_folder("some")
    (place / "other").write_bytes(b"code")
    (folder / "code").hardlink_to(place / "other")
    assert cache.find_folder("some") is None
    (folder / "code").unlink()
    os.mkfifo(folder / "pipe")
    assert cache.find_folder("some") is None
    with pytest.raises(OSError, match="no file of its own"):
        cache.read(folder / "pipe")


def test_what_is_kept_with_an_open_umask_is_taken_again():
    before = os.umask(0o002)
    try:
        folder = cache.find_folder("some")
        cache.write(folder / "code", b"code")
        assert cache.find_folder("some") == folder
        assert os.umask(0o002) == 0o002
    finally:
        os.umask(before)
    assert (folder / "code").stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(place, caplog):
    folder = cache.find_folder("some")
    (place / "elsewhere").write_bytes(b"code")
    (folder / "link").symlink_to(place / "elsewhere")
    with pytest.raises(OSError):
        cache.read(folder / "link")
    assert cache.find_folder("some") is None
    assert "is a link" in caplog.text


def test_without_a_home_nothing_is_kept_and_a_line_says_so_once(monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache.Path, "home", home)
    assert cache.find_folder("some") is None
    assert cache.find_folder("other") is None
    assert caplog.text.count("every process compiles them anew: Could not determine home directory.") == 1


def test_a_relative_place_is_ignored(place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(cache.Path, "home", lambda: place)
    assert cache.find_folder("some") == place / ".cache" / "snn_action" / "machine_code" / "some"


def test_a_full_disk_costs_nothing_but_the_cache(monkeypatch, caplog):
    folder = cache.find_folder("some")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_atomic", full)
    cache.write(folder / "file", b"code")
    assert "No space left on device" in caplog.text


def test_a_chain_of_links_through_a_folder_of_others_is_not_used(place, monkeypatch, caplog):
    """Whoever may write there may turn the link in the middle elsewhere."""
    for name in ("mine", "anybodys"):
        (place / name).mkdir()
    (place / "anybodys" / "link").symlink_to("../mine")
    (place / "first").symlink_to(place / "anybodys" / "link")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "first"))
    assert cache.find_folder("some") is not None
    (place / "anybodys").chmod(0o777)
    assert cache.find_folder("some") is None
    assert f"{place / 'anybodys'}: may be written by other users" in caplog.text


@pytest.mark.parametrize("what", ["empty", "cut off"])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_broken_file_of_numba_is_compiled_again(place, caplog, suffix, what):
    """As a machine leaves it that lost its power."""

    def compile_again():
        def twice(begin, end):
            pass

        twice.__qualname__ = "twice"
        return loops._compile()(twice)

    compile_again()
    (kept,) = place.rglob(f"*.twice_*.{suffix}")
    content = kept.read_bytes()
    kept.write_bytes(content[: len(content) // 2] if what == "cut off" else b"")
    assert compile_again()(0, 1) is None
    assert "twice is compiled again" in caplog.text
    caplog.clear()
    assert compile_again().stats.cache_hits
    assert not caplog.text
