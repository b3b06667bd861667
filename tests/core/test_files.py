import os
from pathlib import Path

import pytest

from snn_action.core import files
from snn_action.core.files import write_atomic


@pytest.mark.parametrize(("content", "data"), [("Grüße\n", "Grüße\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_a_file_is_written_whole_and_replaced(tmp_path, content, data):
    path = tmp_path / "file"
    path.write_text("before, and longer than what comes")
    write_atomic(path, content)
    assert path.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("failing", ["replace", "chmod"])
def test_after_a_failure_the_file_is_as_it_was_and_nothing_lies_beside_it(tmp_path, monkeypatch, failing):
    path = tmp_path / "file"
    path.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "after")
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "nowhere" / "file", "text")


def test_of_files_that_belong_together_none_changes_where_one_cannot_be_written(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a", "b", "old")]
    for path in paths:
        path.write_text("before")
    real, calls = files._fill, []

    def fill_twice(*words):
        calls.append(words)
        if len(calls) == 2:
            os.close(words[0])
            raise OSError(28, "No space left on device")
        real(*words)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_fill", fill_twice)
        with pytest.raises(OSError, match="No space left") as error:
            files.write_together({paths[0]: "after", paths[1]: "after"}, outdated=[paths[2]])
    assert error.value.filename == str(paths[1])
    assert [path.read_text() for path in paths] == ["before"] * 3
    assert sorted(tmp_path.iterdir()) == paths
    files.write_together({paths[0]: "after", paths[1]: "after"}, outdated=[paths[2]])
    assert [path.read_text() for path in paths[:2]] == ["after"] * 2
    assert sorted(tmp_path.iterdir()) == paths[:2]
