"""Targets: every file of the package, the published figures by hand, and errors of a user's own file."""

import json
import re

import pytest

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.targets import Target, list_targets, load_target

SHIPPED = ["45nm", "cpu_core", "gpu", "loihi2", "microcontroller", "spinnaker", "spinnaker2"]
OPERATIONS = ("mac", "ac", "neuron_update", "state_update")


def test_the_package_has_these_targets():
    assert list_targets() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_target_says_where_its_figures_are_from(name):
    target = load_target(name)
    assert target.name == name
    assert all(re.search(r"https?://\S+", source) for source in target.sources)
    assert len(target.derivation) > 200
    assert target.factor >= 2
    assert "  " not in target.derivation


@pytest.mark.parametrize("name", SHIPPED)
def test_figures_of_a_shipped_target_hang_together(name):
    target = load_target(name)
    for operation in ("ac", "neuron_update", "state_update"):
        assert getattr(target, operation), f"{name} has no {operation}"
    assert set(target.neuron_update) == set(target.state_update) >= set(target.ac) | set(target.mac)
    for bits, energy in target.neuron_update.items():
        assert energy >= target.state_update[bits]
    wider = [target.mac[bits] for bits in ("4", "8", "16", "32") if bits in target.mac]
    assert wider == sorted(wider)
    if not target.includes_memory:
        assert target.local_byte <= target.on_chip_byte < target.off_chip_byte
    if target.local_bytes and target.on_chip_bytes:
        assert target.local_bytes < target.on_chip_bytes


def test_45nm_is_the_published_table():
    int8_add, int32_add, fp16_add, fp32_add = 0.03, 0.1, 0.4, 0.9
    int8_multiply, int32_multiply, fp16_multiply, fp32_multiply = 0.2, 3.1, 1.1, 3.7
    target = load_target("45nm")
    assert target.mac == pytest.approx(
        {"8": int8_multiply + int32_add, "16": fp16_multiply + fp16_add, "32": fp32_multiply + fp32_add}
    )
    assert target.ac == {"8": int32_add, "16": fp16_add, "32": fp32_add}
    assert target.ac["8"] > int8_add
    assert target.neuron_update == pytest.approx(
        {
            "8": int32_multiply + 3 * int32_add,
            "16": fp16_multiply + 3 * fp16_add,
            "32": fp32_multiply + 3 * fp32_add,
        }
    )
    assert target.state_update["8"] == pytest.approx(int32_multiply + int32_add)
    assert target.state_update["32"] == target.mac["32"] == 4.6
    assert (target.local_byte, target.on_chip_byte) == (10 / 8, 100 / 8)
    assert target.off_chip_byte == pytest.approx((1300 + 2600) / 2 / 8)
    assert (target.local_bytes, target.on_chip_bytes) == (8 * 2**10, 2**20)


def test_processors_are_power_over_throughput():
    cpu, gpu, micro = (load_target(name) for name in ("cpu_core", "gpu", "microcontroller"))
    assert cpu.mac["32"] == pytest.approx(1e12 * 270 / (40 * 2.3e9 * 2 * 16) * 2, rel=1e-3)
    assert cpu.mac["8"] == pytest.approx(cpu.mac["32"] / 4, rel=1e-2)
    assert gpu.mac["32"] == pytest.approx(1e12 * 700 / (67e12 / 2), rel=1e-2)
    assert gpu.mac["16"] == pytest.approx(1e12 * 700 / (1979e12 / 2 / 2), rel=1e-2)
    assert gpu.mac["8"] == pytest.approx(1e12 * 700 / (3958e12 / 2 / 2), rel=1e-2)
    assert gpu.off_chip_byte == pytest.approx(8 * 3.9)
    cycle, cycles = 1e12 * 100e-6 / 1e6 * 3.0, 0.0991 * 216e6 / 12.35e6
    assert micro.mac["8"] == pytest.approx(cycle * cycles * 2**0.5, rel=1e-2)
    assert micro.mac["32"] == pytest.approx(7 * cycle)
    assert micro.ac["8"] == micro.ac["16"] == pytest.approx(7 / 2 * cycle)


def test_neuromorphic_figures_are_the_published_ones():
    loihi, first, second = (load_target(name) for name in ("loihi2", "spinnaker", "spinnaker2"))
    assert (loihi.ac["8"], loihi.neuron_update["8"]) == (23.6, 81.0)
    assert loihi.on_chip_bytes == 128 * loihi.local_bytes
    assert "not from measurements" in loihi.derivation
    assert (first.ac["16"], first.neuron_update["16"], first.mac) == (13.3e3, 26e3, {})
    assert 1e-12 * (1.8e9 * first.ac["16"] + 250e3 * 1000 * first.neuron_update["16"]) < 48
    assert second.mac["8"] == pytest.approx(2 / 2.77, rel=1e-2)
    assert 1e12 * 0.425 / 1.8e9 < second.ac["16"] < 1e12 * 1.248 / 1.8e9


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown target 'loihi'; did you mean 'loihi2'\?") as caught:
        load_target("loihi")
    assert all(name in str(caught.value) for name in SHIPPED)
    assert "\n" not in str(caught.value)


@pytest.fixture
def own(tmp_path):
    raw = {
        "name": "mine",
        "title": "My board",
        "kind": "processor",
        "year": 2026,
        "process": "22 nm",
        "sources": ["measured by me"],
        "derivation": "watts over operations a second",
        "factor": 2,
        "mac": {"8": 5},
        "includes_memory": True,
    }

    def write(**changes):
        path = tmp_path / "mine.json"
        changed = {key: value for key, value in {**raw, **changes}.items() if value != "leave out"}
        path.write_text(json.dumps(changed), encoding="utf-8")
        return str(path)

    return write


def test_a_user_gives_the_path_of_an_own_file(own):
    target = load_target(own())
    assert isinstance(target, Target)
    assert (target.mac, target.ac, target.local_byte, target.factor) == ({"8": 5.0}, {}, None, 2.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"factr": 2}, r"factr: unknown key; did you mean 'factor'\?"),
        ({"factor": "leave out"}, "factor: missing"),
        ({"factor": 1}, "factor: .*greater than 1"),
        ({"kind": "quantum"}, "kind: "),
        ({"sources": []}, "sources: "),
        ({"derivation": ""}, "derivation: "),
        ({"mac": {"12": 1.0}}, "mac.12"),
        ({"mac": {"8": 0}}, "mac.8: "),
        ({"mac": {"8": "5"}}, "mac.8: "),
        ({"mac": {}}, "mac, ac: "),
        ({"local_byte": 1.0}, "local_byte: must be null"),
        ({"includes_memory": False}, "local_byte: must be a number"),
        ({"includes_memory": False, "local_byte": 0, "on_chip_byte": 1}, "off_chip_byte: must be a number"),
        ({"title": "two\nlines", "year": 20260}, "year: "),
    ],
)
def test_errors_of_an_own_file_name_file_and_key_in_one_line(own, changes, says):
    path = own(**changes)
    with pytest.raises(ConfigError, match=says) as caught:
        load_target(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [("{", "not a JSON file"), ("[1]", "not a JSON object")])
def test_what_is_no_target_is_refused(tmp_path, content, says):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        load_target(str(path))
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        load_target(str(tmp_path / "none.json"))


def test_a_target_stays_as_it_is():
    target = load_target("45nm")
    with pytest.raises(ValueError, match="frozen"):
        target.factor = 1.5
    assert {bits for operation in OPERATIONS for bits in getattr(target, operation)} == {"8", "16", "32"}
