import ctypes
import logging
from typing import Any

import pytest
from llvmlite import ir

from snn_action.kernels import machine_code


def emit(builder: Any, places: list[Any]) -> None:
    """target, number: add one to the number and put it to the target."""
    pointer = builder.inttoptr(places[0], ir.IntType(64).as_pointer())
    builder.store(builder.add(places[1], ir.Constant(ir.IntType(64), 1)), pointer)


def run() -> int:
    address = machine_code.compile_function("add_one", 2, emit)
    result = ctypes.c_int64()
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)(ctypes.addressof(result), 41)
    return result.value


def test_code_is_kept_and_taken_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.INFO)
    assert run() == 42
    assert "compiling a fused kernel" in caplog.text
    (file,) = (tmp_path / "snn_action" / "kernels").iterdir()
    caplog.clear()
    assert run() == 42
    assert not caplog.text
    assert file.exists()


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda code: code[:-7], lambda code: b"garbage" + code[7:]])
def test_code_that_is_broken_is_compiled_again(spoil, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run() == 42
    (file,) = (tmp_path / "snn_action" / "kernels").iterdir()
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert run() == 42
    assert "is broken" in caplog.text
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "snn_action").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.INFO)
    assert run() == 42
    assert "cannot be written" in caplog.text
