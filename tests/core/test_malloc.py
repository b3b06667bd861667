import threading

import pytest

from snn_action.core import malloc


class Library:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def mallopt(self, what: int, value: int) -> None:
        self.asked.append(("mallopt", what, value))

    def malloc_trim(self, pad: int) -> None:
        self.asked.append(("malloc_trim", pad, 0))


KEEP = [("mallopt", -3, 2**30), ("mallopt", -1, 2**30)]
RESTORE = [("mallopt", -3, 2**25), ("mallopt", -1, 2**26), ("malloc_trim", 0, 0)]


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int, int]]:
    library = Library()
    monkeypatch.setattr(malloc, "_find_library", lambda: library)
    return library.asked


def test_only_the_outermost_changes_anything(asked):
    with malloc.keep_freed_memory():
        with malloc.keep_freed_memory():
            assert asked == KEEP
        assert asked == KEEP
    assert asked == KEEP + RESTORE
    with malloc.keep_freed_memory():
        pass
    assert asked == 2 * (KEEP + RESTORE)


def test_an_error_inside_leaves_it_as_it_was(asked):
    with malloc.keep_freed_memory():
        with pytest.raises(ZeroDivisionError), malloc.keep_freed_memory():
            raise ZeroDivisionError
        assert asked == KEEP
    assert asked == KEEP + RESTORE


def test_the_last_of_several_threads_restores(asked):
    inside, leave = threading.Barrier(3), threading.Event()

    def work():
        with malloc.keep_freed_memory():
            inside.wait(60)
            leave.wait(60)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    with malloc.keep_freed_memory():
        inside.wait(60)
    assert asked == KEEP
    leave.set()
    for thread in threads:
        thread.join(60)
    assert asked == KEEP + RESTORE


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: object())
    with malloc.keep_freed_memory():
        pass
