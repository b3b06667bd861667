"""Bytes of layers against counts by hand."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.traffic import (
    Traffic,
    is_stored_sparse,
    measure_traffic,
    size_of_states,
    size_of_weights,
)

T = 10
# 6 inputs, 4 targets, biases; of 60 inputs 20 are not zero
LINEAR = Layer(
    "linear", "head", "synapses", T, parameters=28, nonzero=28, biases=4, fan_in=6, fan_out=4, outputs=4,
    values=60, active=20, dense_macs=240, effective_macs=80,
)  # fmt: skip


def test_dense_reads_every_weight_and_input_at_every_step():
    moved = measure_traffic(LINEAR, 8, "dense")
    assert moved == Traffic(weights_read=28 * T, activations_read=60, activations_written=4 * T, local_inputs=240)
    assert measure_traffic(LINEAR, 32, "dense").weights_read == 4 * 28 * T


def test_events_read_the_weights_behind_each_input_that_is_not_zero():
    moved = measure_traffic(LINEAR, 8, "events")
    sums = 80 * (2 + 2)  # a sum of 16 bits is read and written
    read = 20 * 4 + 4 * T  # and the biases, at every step
    assert moved == Traffic(weights_read=read, activations_read=20, activations_written=4 * T, local_sums=sums)


def test_both_ways_read_biases_at_every_step_and_sums_of_changes_have_them_from_the_start():
    full = replace(LINEAR, active=60, effective_macs=240)
    events, dense = (measure_traffic(full, 8, way).weights_read for way in ("events", "dense"))
    assert events == dense == 28 * T
    some = replace(full, nonzero=14, biases=2)  # kept with addresses, or as a whole
    assert measure_traffic(some, 8, "dense").weights_read == 28 * T
    few = replace(full, nonzero=8, biases=2, effective_macs=6 * T)
    assert is_stored_sparse(few, 8)
    assert {measure_traffic(few, 8, way).weights_read for way in ("events", "dense")} == {8 * 3 * T}
    changes = measure_traffic(replace(LINEAR, by_changes=True), 8, "events")
    assert changes.weights_read == 20 * 4 + 4
    shared = replace(LINEAR, steps=2, dense_macs=2 * 24 * 5, effective_macs=2 * 24 * 5)
    assert shared.is_shared
    assert measure_traffic(shared, 8, "events").weights_read == 2 * 28


def test_a_spike_is_an_address_and_reads_the_same_weights():
    spikes = Layer(
        "spikes", "head", "synapses", T, parameters=24, nonzero=24, fan_in=6, fan_out=4, outputs=4, values=60,
        active=20, by_spikes=True, dense_macs=240, effective_acs=80,
    )  # fmt: skip
    moved = measure_traffic(spikes, 8, "events")
    assert moved == Traffic(weights_read=80, activations_read=2 * 20, activations_written=4 * T, local_sums=320)
    assert measure_traffic(spikes, 8, "dense").activations_read == 60 / 8  # a bit each


def test_few_weights_are_stored_with_their_addresses():
    few = Layer(
        "few", "head", "synapses", T, parameters=600, nonzero=60, fan_in=20, fan_out=30, outputs=30, values=200,
        active=100, dense_macs=6000, effective_macs=300,
    )  # fmt: skip
    assert is_stored_sparse(few, 8)
    assert measure_traffic(few, 8, "events").weights_read == 300 * 3  # a byte and two of address
    dense = measure_traffic(few, 8, "dense")
    assert (dense.weights_read, dense.local) == (60 * T * 3, 600)  # a tenth of the products
    full = measure_traffic(few, 8, "dense", skips_zeros=False)
    assert (full.weights_read, full.local) == (600 * T, 6000)
    assert size_of_weights([few, LINEAR], 8) == 60 * 3 + 28
    assert not is_stored_sparse(LINEAR, 8)


def test_weights_of_a_convolution_are_fetched_once_a_step():
    convolution = Layer(
        "convolution", "backbone", "synapses", 2, parameters=27, nonzero=27, fan_in=27, fan_out=27 * 16 / 108,
        outputs=16, values=216, active=216, dense_macs=2 * 16 * 27, effective_macs=2 * 16 * 27,
    )  # fmt: skip
    assert convolution.is_shared
    dense, events = (measure_traffic(convolution, 8, way) for way in ("dense", "events"))
    assert dense.weights_read == events.weights_read == 2 * 27
    assert dense.local == 2 * 864  # a weight and an input a product
    assert events.local == 864 * (1 + 4)


def test_states_are_read_and_written_at_every_step():
    neurons = Layer("n", "head", "neurons", T, outputs=50, neuron_updates=500, states=100, spikes=7)
    for way in ("dense", "events"):
        moved = measure_traffic(neurons, 8, way)
        assert (moved.states_read, moved.states_written, moved.activations_written) == (2000, 2000, 14)
    carried = Layer("c", "head", "states", T, states=8, state_updates=80)
    assert measure_traffic(carried, 32, "events") == Traffic(states_read=320, states_written=320)
    assert (size_of_states(neurons, 8), size_of_states(LINEAR, 32)) == (200, 16)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 400), st.sampled_from([4, 8, 16, 32]))
def test_more_inputs_move_more(inputs, outputs, active, bits):
    def make(active: int) -> Layer:
        return Layer(
            "x", "head", "synapses", 10, parameters=inputs * outputs, nonzero=inputs * outputs, fan_in=inputs,
            fan_out=outputs, outputs=outputs, values=inputs * 10, active=active, dense_macs=inputs * outputs * 10,
            effective_macs=active * outputs,
        )  # fmt: skip

    active = min(active, inputs * 10)
    some, all_ = (measure_traffic(make(each), bits, "events") for each in (active, inputs * 10))
    assert some.weights_read <= all_.weights_read == measure_traffic(make(0), bits, "dense").weights_read
    assert some.activations_read <= all_.activations_read
    assert some.local <= all_.local


def test_weights_that_were_trained_to_have_fewer_bits_are_read_with_those():
    rounded, rest = replace(LINEAR, weight_bits=4), measure_traffic(LINEAR, 8, "dense")
    moved = measure_traffic(rounded, 8, "dense")
    assert moved == replace(rest, weights_read=rest.weights_read / 2)  # activations and sums as they were
    assert measure_traffic(rounded, 8, "events").weights_read == (20 * 4 + 4 * T) / 2
    assert measure_traffic(rounded, 32, "dense").weights_read == 28 * T / 2
    assert size_of_weights([rounded, LINEAR], 8) == 14 + 28
    assert measure_traffic(replace(LINEAR, weight_bits=8), 4, "dense") == measure_traffic(LINEAR, 4, "dense")


def test_addresses_weigh_more_beside_few_bits():
    few = replace(LINEAR, nonzero=8)  # 8 (8 + 16) < 28 8, but not 8 (4 + 16) < 28 4
    assert is_stored_sparse(few, 8)
    assert not is_stored_sparse(replace(few, weight_bits=4), 8)


def test_a_shared_weight_is_read_beside_the_arithmetic_with_its_bits():
    shared = replace(LINEAR, dense_macs=4 * LINEAR.dense_macs)
    assert shared.is_shared
    dense = [measure_traffic(one, 8, "dense").local for one in (shared, replace(shared, weight_bits=4))]
    assert dense == [960 * 2, 960 * 1.5]
    events = [measure_traffic(one, 8, "events").local for one in (shared, replace(shared, weight_bits=4))]
    assert events == [80 * (1 + 4), 80 * (0.5 + 4)]
