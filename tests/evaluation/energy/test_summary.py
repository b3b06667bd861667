"""What is said beside an estimate: ranges, frames, bytes, and what does not fit into a target."""

import json
from dataclasses import replace

import pytest

from snn_action.evaluation.energy.account import Account, compare
from snn_action.evaluation.energy.chips import list_chips
from snn_action.evaluation.energy.estimate import estimate
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.summary import (
    describe_account,
    describe_layers,
    describe_row,
    find_shortage,
    narrow,
    price_layers,
    sum_counts,
)
from snn_action.evaluation.energy.targets import list_targets, load_target

T = 25
LINEAR = Layer(
    "linear", "head", "synapses", T, parameters=48, nonzero=48, fan_in=6, fan_out=8, outputs=8, values=6 * T,
    active=6 * T, dense_macs=48 * T, effective_macs=48 * T,
)  # fmt: skip
NEURONS = Layer("neurons", "head", "neurons", T, outputs=8, neuron_updates=8 * T, states=8, spikes=20.0)
HEAD = (LINEAR, NEURONS)
BACKBONE = (replace(LINEAR, part="backbone"),)


def account(head=HEAD, backbone=None):
    return Account(T, dict.fromkeys((4, 8, 16, 32), head), backbone, (LINEAR,))


def holding(weights, part="head"):
    return replace(LINEAR, part=part, parameters=weights, nonzero=weights)


@pytest.mark.parametrize("name", list_targets())
def test_a_network_that_is_larger_than_all_memory_of_a_target_is_said_to_be(name):
    target = load_target(name)
    said = find_shortage(account((holding(60_000_000),)), target, 8)
    if name in ("microcontroller", "loihi2", "spinnaker2"):
        room = {"microcontroller": "1", "loihi2": "24", "spinnaker2": "19"}[name]
        assert (
            said
            == f"larger than the memory that its figures hold for: weights of the model 57.22 MiB, memory {room} MiB"
        )
    else:
        assert said is None  # there is memory off chip
    assert find_shortage(account(), target, 8) is None


def test_what_is_too_large_is_named():
    chip, room = load_target("microcontroller"), 2**20
    assert find_shortage(account((holding(room),)), chip, 8) is None
    assert find_shortage(account((holding(room + 1),)), chip, 8) is not None
    assert find_shortage(account((holding(room),)), chip, 16).endswith("weights of the model 2 MiB, memory 1 MiB")
    large = holding(3 * room, "backbone")
    assert find_shortage(account(HEAD, (large,)), chip, 8).endswith("weights of the backbone 3 MiB, memory 1 MiB")
    both = find_shortage(account((holding(2 * room),), (large,)), chip, 8)
    assert both.endswith("weights of the model 2 MiB, memory 1 MiB and backbone 3 MiB, memory 1 MiB")
    halves = find_shortage(account((holding(room),), (holding(room, "backbone"),)), chip, 8)
    assert halves.endswith("weights of the backbone and model together 2 MiB, memory 1 MiB")


def test_each_estimate_has_its_range_and_that_of_a_frame():
    target, counted = load_target("45nm"), account(HEAD, BACKBONE)
    row = compare(counted, target, 8)
    raw = json.loads(json.dumps(describe_row(counted, row, target, 8), allow_nan=False))
    assert {**row.to_dict(), **raw} == raw
    assert raw["ranges"].keys() == {"head", "twin", "baseline", "backbone", "chain", "twin_chain"}
    assert raw["ranges"]["head"] == {"low": row.head / target.factor, "high": row.head * target.factor}
    assert raw["per_frame"]["chain"] == row.chain / T
    assert raw["too_large"] is None


def test_bytes_by_level_and_kind_are_those_of_the_layers():
    target, counted = load_target("45nm"), account(HEAD, BACKBONE)
    raw = describe_row(counted, compare(counted, target, 8), target, 8)["bytes"]
    assert raw.keys() == {"head", "backbone"}
    for part, layers in (("head", HEAD), ("backbone", BACKBONE)):
        moved = [one.traffic for one in estimate(layers, target).layers]
        for kind in ("weights_read", "activations_written", "states_written"):
            there = sum(level[kind] for level in raw[part].values())
            local = sum(one.local_sums / 2 for one in moved) if kind == "states_written" else 0
            assert there == sum(getattr(one, kind) for one in moved) + local
    by_layer = describe_layers(HEAD, {"45nm": price_layers(HEAD, target, 8)})
    for level, kinds in raw["head"].items():
        for kind, size in kinds.items():
            assert size == sum(layer["bytes"]["45nm"][level][kind] for layer in by_layer)
    assert by_layer[0]["name"] == "linear"


def test_a_target_without_figures_has_no_bytes():
    target = load_target("loihi2")
    assert price_layers(HEAD, target, 32) == ()
    raw = describe_row(account(), compare(account(), target, 32), target, 32)
    assert (raw["head"], raw["bytes"], raw["ranges"]) == (None, {}, {})
    assert describe_layers(HEAD, {"loihi2": ()})[0]["bytes"] == {}


def test_counts_of_parts_and_of_the_chain():
    found = sum_counts(account(HEAD, BACKBONE), 8)
    assert found["head"]["clip"]["dense_macs"] == 48 * T
    assert found["chain"]["clip"]["dense_macs"] == 2 * 48 * T
    assert found["chain"]["frame"] == {name: count / T for name, count in found["chain"]["clip"].items()}
    assert found["head"]["frame"]["neuron_updates"] == 8
    assert sum_counts(account(), 8).keys() == {"head"}


@pytest.mark.parametrize("name", list_targets())
def test_weights_of_4_bits_are_multiplied_by_numbers_of_8(name):
    target, few = load_target(name), narrow(account(HEAD, BACKBONE), 4)
    row, wide = compare(few, target, 8), compare(account(HEAD, BACKBONE), target, 8)
    assert row.problem is None
    assert row.head <= wide.head  # the same products, fewer bytes of weights
    assert (row.head < wide.head) == bool(target.on_chip_byte)
    assert row.parts["arithmetic"] == wide.parts["arithmetic"]
    assert few.head(8)[0].weight_bits == few.backbone[0].weight_bits == few.baseline[0].weight_bits == 4
    assert narrow(account(), 8) == account()
    three = narrow(account((replace(LINEAR, weight_bits=3),)), 4)
    assert three.head(8)[0].weight_bits == 3


def test_an_account_says_which_chips_hold_the_head():
    raw = json.loads(json.dumps(describe_account(account(), {"type": "lmu"}), allow_nan=False))
    assert [chip["chip"] for chip in raw["chips"]] == list_chips()
    akida = raw["chips"][0]
    assert akida["fits"] is False
    assert any("a layer is connected to itself" in advice for advice in akida["why"])
    free = describe_account(account(), {"type": "mean_pool"})["chips"][0]
    assert not any("connected to itself" in advice for advice in free["why"])
    assert Account.from_dict(raw) == account()
    assert all(row["bytes"]["head"].keys() == {"local", "on_chip", "off_chip"} for row in raw["estimates"])
