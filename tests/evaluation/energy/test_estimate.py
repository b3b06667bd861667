"""Estimates against sums by hand, on a target whose figures are easy to tell apart."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.account import Account, compare
from snn_action.evaluation.energy.estimate import (
    MICROJOULE,
    estimate,
    find_crossover,
    find_price,
    make_twin,
    scale_spikes,
    spike_rate,
)
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.targets import Target, list_targets, load_target
from snn_action.evaluation.energy.traffic import Bytes

T, N, K = 10, 100, 4
TARGET = Target(
    name="test",
    title="a target of round figures",
    kind="digital",
    year=2026,
    process="none",
    sources=("this test",),
    derivation="chosen",
    factor=2.0,
    mac={"8": 1.0},
    ac={"8": 0.5},
    neuron_update={"8": 3.0},
    state_update={"8": 2.0},
    includes_memory=False,
    local_byte=0.1,
    on_chip_byte=10.0,
    off_chip_byte=1000.0,
    local_bytes=64,
    on_chip_bytes=10_000,
)
NEURONS = Layer("hidden neurons", "head", "neurons", T, outputs=N, neuron_updates=N * T, states=N, spikes=50.0)
SPIKES = Layer(
    "hidden spikes", "head", "synapses", T, parameters=N * K, nonzero=N * K, fan_in=N, fan_out=K, outputs=K,
    values=N * T, active=50.0, by_spikes=True, dense_macs=N * K * T, effective_acs=50.0 * K,
)  # fmt: skip
HEAD = (NEURONS, SPIKES)


def test_spikes_and_neurons_by_hand():
    neurons, spikes = estimate(HEAD, TARGET).layers
    states = 2 * N * T * 2  # 16 bits, read and written; 200 bytes are more than the local buffer has
    assert neurons.total == pytest.approx((3.0 * N * T + 10.0 * (states + 50 * 2)) / MICROJOULE)
    sums = 50 * K * 4  # 8 bytes of sums: local
    moved = 50 * K + 50 * 2 + K * T  # weights, events, results
    assert spikes.way == "events"
    assert spikes.total == pytest.approx((0.5 * 50 * K + 0.1 * sums + 10.0 * moved) / MICROJOULE)
    assert estimate(HEAD, TARGET).range == (estimate(HEAD, TARGET).total / 2, estimate(HEAD, TARGET).total * 2)


def test_the_cheaper_way_is_taken():
    (all_active,) = estimate(make_twin([SPIKES]), TARGET).layers
    assert all_active.way == "dense"  # each weight is read in both; only the sums of the other way are more
    weights, inputs, results = N * K * T, N * T, K * T
    assert all_active.total == pytest.approx(
        (1.0 * weights + 0.1 * weights + 10.0 * (weights + inputs + results)) / MICROJOULE
    )
    rigid = TARGET.model_copy(update={"event_driven": False})
    (same,) = estimate([SPIKES], rigid).layers
    assert same.way == "dense"
    assert same.arithmetic == pytest.approx(weights / MICROJOULE)  # spikes do not pay there


def test_weights_that_do_not_fit_are_off_chip():
    wide = replace(SPIKES, parameters=20_000, nonzero=20_000, fan_out=200.0, outputs=200, effective_acs=10_000.0)
    (layer,) = estimate([wide], TARGET).layers
    assert layer.off_chip == pytest.approx(1000.0 * 50 * 200 / MICROJOULE)


def test_figures_with_memory_stand_alone():
    chip = TARGET.model_copy(update={"includes_memory": True})
    assert estimate(HEAD, chip).total == pytest.approx((3.0 * N * T + 0.5 * 50 * K) / MICROJOULE)


def test_what_a_target_does_not_know_is_said():
    with pytest.raises(ConfigError, match="target test: no figure of neuron_update for 4 bits, only for 8"):
        estimate(HEAD, TARGET, 4)
    assert find_price(TARGET.model_copy(update={"mac": {}}), "mac", 8) == 0.5  # a number is an event that carries it


def test_the_twin_has_numbers_and_no_neurons():
    (twin,) = make_twin(HEAD, active=0.5)
    assert (twin.effective_macs, twin.effective_acs, twin.by_spikes) == (N * K * T / 2, 0, False)
    assert spike_rate([twin]) is None
    assert spike_rate(HEAD) == 50 / (N * T)


def test_the_twin_has_no_zeros_that_decoded_spikes_left():
    decoded = replace(SPIKES, by_spikes=False, by_decoded=True, nonzero=100, effective_macs=3.0, effective_acs=0.0)
    (twin,) = make_twin([decoded])
    assert (twin.active, twin.effective_macs) == (N * T, N * K * T * 100 / SPIKES.parameters)
    assert make_twin([replace(decoded, by_changes=True)]) == [replace(decoded, by_changes=True)]


SENDERS = Layer(
    "input changes", "head", "neurons", T, outputs=N, by_changes=True, neuron_updates=N * T, states=2 * N, spikes=7.0
)
CHANGED = replace(SPIKES, name="input", by_spikes=False, by_changes=True, effective_macs=28.0, effective_acs=0.0)


def test_changes_are_no_spikes():
    """A twin sends them as well, so that it is compared what spikes cost and nothing else."""
    both = [SENDERS, CHANGED, *HEAD]
    assert spike_rate([SENDERS, CHANGED]) is None
    assert spike_rate(both) == spike_rate(HEAD)
    assert make_twin(both) == [SENDERS, CHANGED, *make_twin(HEAD)]
    assert scale_spikes(both, 3) == [SENDERS, CHANGED, *scale_spikes(HEAD, 3)]
    cheap = TARGET.model_copy(update={"neuron_update": {"8": 0.1}, "local_bytes": 1000})
    assert find_crossover(both, make_twin(both), cheap) == find_crossover(HEAD, make_twin(HEAD), cheap)
    assert compare(Account(T, {8: (SENDERS, CHANGED)}, None, ()), TARGET, 8).twin is None


def test_the_crossover_of_a_silent_head_is_that_of_one_that_spikes():
    cheap = TARGET.model_copy(update={"neuron_update": {"8": 0.1}, "local_bytes": 1000})
    silent = scale_spikes(HEAD, 0)
    assert spike_rate(silent) == 0
    assert find_crossover(silent, make_twin(silent), cheap) == pytest.approx(
        find_crossover(HEAD, make_twin(HEAD), cheap), rel=2e-3
    )


def test_the_crossover_is_where_both_need_the_same():
    cheap = TARGET.model_copy(update={"neuron_update": {"8": 0.1}, "local_bytes": 1000})
    twin = make_twin(HEAD)
    rate = find_crossover(HEAD, twin, cheap)
    assert rate is not None
    assert 0 < rate < 1
    at = estimate(scale_spikes(HEAD, rate / spike_rate(HEAD)), cheap).total
    assert at == pytest.approx(estimate(twin, cheap).total, rel=5e-3)
    dear = TARGET.model_copy(update={"neuron_update": {"8": 1e4}})
    assert find_crossover(HEAD, twin, dear) is None
    free = cheap.model_copy(update={"ac": {"8": 1e-6}, "includes_memory": True})
    assert find_crossover(HEAD, twin, free) == 1.0
    assert find_crossover(twin, twin, cheap) is None


@given(st.floats(0, 20))
def test_more_spikes_never_cost_less(factor):
    more = estimate(scale_spikes(HEAD, 1 + factor), TARGET).total
    assert more >= estimate(HEAD, TARGET).total


@pytest.mark.parametrize("name", list_targets())
def test_every_target_prices_a_spiking_head(name):
    row = compare(Account(T, {8: HEAD}, None, ()), load_target(name), 8)
    assert row.problem is None
    assert row.head is not None
    assert row.head > 0
    assert row.chain is None
    assert row.rate == 0.05


def test_both_parts_are_without_spikes_where_either_spikes():
    plain = (replace(SPIKES, by_spikes=False, effective_macs=9.0, effective_acs=0.0),)
    head_twin = estimate(make_twin(HEAD), TARGET).total
    for head, backbone in ((HEAD, plain), (plain, HEAD), (HEAD, HEAD)):
        row = compare(Account(T, {8: head}, backbone, ()), TARGET, 8)
        assert row.twin_chain == sum(
            head_twin if part is HEAD else estimate(plain, TARGET).total for part in (head, backbone)
        )
    assert compare(Account(T, {8: plain}, plain, ()), TARGET, 8).twin_chain is None
    assert compare(Account(T, {8: HEAD}, None, ()), TARGET, 8).twin_chain is None


def test_an_account_comes_back_from_its_file():
    few = (NEURONS, replace(SPIKES, nonzero=3))
    account = Account(T, {4: few, 8: HEAD, 16: HEAD, 32: HEAD}, (replace(SPIKES, part="backbone"),), (SPIKES,))
    raw = account.to_dict()
    assert raw["layers"]["heads"].keys() == {"4"}  # the others are that of 8 bits
    assert Account.from_dict(json.loads(json.dumps(raw))) == account
    assert {row["target"] for row in raw["estimates"]} == set(list_targets())
    (row,) = (row for row in raw["estimates"] if row["target"] == "45nm")
    assert row["chain"] == row["head"] + row["backbone"]
    assert row["twin"] > 0


def test_an_account_of_an_older_version_has_one_count_for_all_bits():
    raw = Account(T, dict.fromkeys((4, 8, 16, 32), HEAD), None, (SPIKES,)).to_dict()
    assert raw["layers"].pop("heads") == {}
    account = Account.from_dict(raw)
    assert all(account.head(bits) == HEAD for bits in (4, 8, 16, 32))


def test_the_head_is_priced_by_the_count_of_its_bits():
    few = (NEURONS, replace(SPIKES, nonzero=3, active=5.0, effective_acs=20.0))
    account = Account(T, {8: HEAD, 32: few}, None, ())
    wide = {name: {"32": 1.0} for name in ("mac", "ac", "neuron_update", "state_update")}
    target = TARGET.model_copy(update=wide)
    assert compare(account, TARGET, 8).head == estimate(HEAD, TARGET, 8).total
    assert compare(account, TARGET, 8).twin == estimate(make_twin(HEAD), TARGET, 8).total
    assert compare(account, target, 32).head == estimate(few, target, 32).total != estimate(HEAD, target, 32).total
    assert compare(account, target, 32).twin == estimate(make_twin(few), target, 32).total


def test_bytes_at_each_level_are_what_is_paid_for():
    wide = replace(SPIKES, parameters=20_000, nonzero=20_000, fan_out=200.0, outputs=200, effective_acs=10_000.0)
    prices = {"local": 0.1, "on_chip": 10.0, "off_chip": 1000.0}
    for layers in (HEAD, make_twin(HEAD), [NEURONS, wide]):
        for one in estimate(layers, TARGET).layers:
            for level, there in one.levels.items():
                assert getattr(one, level) == pytest.approx(prices[level] * there.total / MICROJOULE)
    neurons, spikes = estimate(HEAD, TARGET).layers
    assert neurons.levels["on_chip"] == Bytes(states_read=2000, states_written=2000, activations_written=100)
    assert spikes.levels["local"] == Bytes(states_read=400, states_written=400)  # sums of 16 bits
    assert spikes.levels["on_chip"] == Bytes(weights_read=200, activations_read=100, activations_written=40)
    assert spikes.levels["off_chip"] == Bytes()


def test_a_target_whose_figures_include_memory_still_says_where_bytes_are_moved():
    chip = TARGET.model_copy(update={"includes_memory": True})
    assert sum(one.levels["on_chip"].total for one in estimate(HEAD, chip).layers) > 0
