"""Headers that do not fit: each costs its file, with a verdict that says whether it may ever be taken out."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn_action.features.store.shard import Flaw, parse, read_shard

from ..conftest import key_of

NAME = f"rgb-{'0' * 32}.safetensors"
OTHER = "x.safetensors"
Change = Callable[[dict[str, Any]], Any]


def describe() -> dict[str, Any]:
    """A description of two videos of 2 and 3 rows."""
    entries = [
        {"key": key_of("a"), "name": "a", "start": 0, "lengths": [2], "frames": [[0, 1]]},
        {"key": key_of("b"), "name": "b", "start": 2, "lengths": [2, 1], "frames": [[0, 1], [5]]},
    ]
    return {"format": 1, "stream": "rgb", "provenance": {"backbone": "small"}, "entries": entries}


def outer(text: str, **change: Any) -> dict[str, Any]:
    tensor = {"dtype": "F32", "shape": [5, 4], "data_offsets": [0, 80], **change}
    return {"__metadata__": {"snn_action": text}, "features": tensor}


def read(header: dict[str, Any] | bytes, name: str = NAME, extra: int = 0) -> Any:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse(name, 8 + len(data) + 80 + extra, data)


def test_what_fits_is_read() -> None:
    shard, said = read(outer(json.dumps(describe())))
    assert (shard.stream, shard.rows, shard.dim, shard.is_sealed) == ("rgb", 5, 4, False)
    assert [(e.name, e.start, e.lengths) for e in shard.entries] == [("a", 0, (2,)), ("b", 2, (2, 1))]
    assert said["entries"][1]["frames"] == [[0, 1], [5]]


def nest(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("format"),
        lambda said: said.update(format=True),
        lambda said: said.update(format="1"),
        lambda said: said.update(stream="../rgb"),
        lambda said: said.update(stream=["rgb"]),
        lambda said: said.update(provenance=None),
        lambda said: said.update(provenance={"x": nest(100)}),
        lambda said: said.update(entries=[]),
        lambda said: said.update(entries={"0": 1}),
        lambda said: said["entries"].append([]),
        lambda said: said["entries"].pop(),
        lambda said: said["entries"].reverse(),
        lambda said: said["entries"][1].update(start=0),
        lambda said: said["entries"][1].update(start=2.0),
        lambda said: said["entries"][1].update(start=-3),
        lambda said: said["entries"][0].update(start=False),
        lambda said: said["entries"][0].update(lengths=[True, True]),
        lambda said: said["entries"][0].update(lengths=[5, -3], frames=[[0] * 5, []]),
        lambda said: said["entries"][0].update(lengths=[10**30]),
        lambda said: said["entries"][0].update(lengths=2),
        lambda said: said["entries"][0].update(lengths=[2, 0], frames=[[0, 1], []]),
        lambda said: said["entries"][0].update(frames=[[0]]),
        lambda said: said["entries"][0].update(frames=[[0, "1"]]),
        lambda said: said["entries"][0].update(frames=[[0, 10**400]]),
        lambda said: said["entries"][0].update(name=7),
        lambda said: said["entries"][0].update(key=key_of("b")),
        lambda said: said["entries"][0].update(key=key_of("a").upper()),
        lambda said: said["entries"][0].update(key=key_of("a") + "\n"),
        lambda said: said["entries"][0].pop("key"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_but_proves_nothing(change: Change) -> None:
    said = describe()
    change(said)
    for name in (NAME, OTHER):
        found = read(outer(json.dumps(said)), name)
        assert isinstance(found, Flaw)
        assert found.verdict == "odd"


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F16"},
        {"shape": [20]},
        {"shape": [5, 0], "data_offsets": [0, 0]},
        {"shape": [-5, -4]},
        {"shape": [5.0, 4]},
        {"shape": [4, 5]},
        {"data_offsets": [80, 160]},
        {"data_offsets": None},
    ],
)
def test_another_tensor_is_refused(tensor: dict[str, Any]) -> None:
    found = read(outer(json.dumps(describe()), **tensor))
    assert isinstance(found, Flaw)
    assert found.verdict == "odd"


def test_other_things_beside_it_are_refused() -> None:
    header = outer(json.dumps(describe()))
    assert read(header | {"more": header["features"]}).verdict == "odd"
    assert read(header | {"features": []}).verdict == "odd"
    for name, value in (("more", "x"), ("checksum", [])):
        header = outer(json.dumps(describe()))
        header["__metadata__"][name] = value
        assert read(header).verdict == "odd"


@pytest.mark.parametrize(
    ("header", "ours", "others"),
    [
        (b"garbage", "broken", "foreign"),
        (b"\xff\xfe", "broken", "foreign"),
        (b"[" * 100_000, "broken", "foreign"),
        (b'{"a":' * 100_000, "broken", "foreign"),
        (b"1" * 10_000, "broken", "foreign"),
        (b"[]", "broken", "foreign"),
        (b"{}", "odd", "foreign"),
        (b'{"__metadata__": {"snn_action": 7}}', "odd", "foreign"),
        (json.dumps(outer("[" * 100_000)).encode(), "broken", "odd"),
        (json.dumps(outer("not JSON")).encode(), "broken", "odd"),
        (json.dumps(outer(json.dumps({"format": 2}))).encode(), "left", "left"),
    ],
)
def test_what_cannot_be_read_is_broken_under_our_name_only(header: bytes, ours: str, others: str) -> None:
    assert (read(header).verdict, read(header, OTHER).verdict) == (ours, others)


def test_a_file_shorter_than_its_header_says_is_broken_and_a_longer_one_odd() -> None:
    header = outer(json.dumps(describe()))
    for name in (NAME, OTHER):
        assert read(header, name, -1) == Flaw("broken", "truncated: 79 of 80 bytes of features are there")
        assert read(header, name, 1).verdict == "odd"
    assert [parse(name, 5, None).verdict for name in (NAME, OTHER)] == ["broken", "foreign"]


def test_what_the_library_would_not_open_is_refused(tmp_path: Path) -> None:
    """JSON is read here by another reader than there: this one takes a number that is none."""
    said = describe() | {"provenance": {"backbone": "small"}}
    header = json.dumps(outer(json.dumps(said)) | {"features": 0})
    tensor = json.dumps(outer("")["features"])
    data = header.replace('"features": 0', f'"features": NaN, "features": {tensor}').encode()
    assert isinstance(read(data), tuple)
    path = tmp_path / NAME
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(80))
    assert read_shard(path).verdict == "odd"


def test_a_name_that_is_no_text_is_foreign() -> None:
    assert read(outer(json.dumps(describe())), "\udcff.safetensors").verdict == "foreign"
