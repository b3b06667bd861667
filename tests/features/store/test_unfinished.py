import contextlib
import os
import time
from pathlib import Path

import pytest

from snn_action.core.locks import NoLocksError
from snn_action.features.store import unfinished as module
from snn_action.features.store.unfinished import is_abandoned, is_unfinished, unfinished

LEFT = f"rgb-1.safetensors.{'0' * 32}.part"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a killed process left, without its lock."""
    path = tmp_path / LEFT
    path.write_bytes(b"half")
    return path


def test_a_file_is_removed_unless_it_is_put_into_its_place(tmp_path: Path) -> None:
    target = tmp_path / "rgb-1.safetensors"
    with unfinished(target) as aside:
        aside.write_text("whole")
        assert all(is_unfinished(path.name) and not is_abandoned(path) for path in tmp_path.iterdir())
        aside.replace(target)
    with contextlib.suppress(ZeroDivisionError), unfinished(target) as aside:
        aside.write_text("half")
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_text() == "whole"


def test_on_a_network_a_fresh_file_is_left_alone(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "network_file_system", lambda _: "nfs")
    assert not is_abandoned(left)
    then = time.time() - 2 * module._FRESH
    os.utime(left, (then, then))
    assert is_abandoned(left)


def test_without_locks_a_file_is_nobodys_after_a_day(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NoLocksError("Function not implemented")

    monkeypatch.setattr(module, "try_lock", fail)
    with unfinished(left.with_name("rgb-2.safetensors")) as aside:
        aside.write_text("whole")
        assert not is_abandoned(aside)
    assert not is_abandoned(left)
    os.utime(left, (0, 0))
    assert is_abandoned(left)
