"""Chips: every file of the package, and what fits, does not fit, or is not known to fit."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.chips import Chip, check_fit, list_chips, load_chip
from snn_action.evaluation.energy.layers import Layer

SHIPPED = ["akida", "loihi2", "speck", "t1", "xylo"]
LIMITS = ["neurons", "synapses", "memory_bytes", "layers", "layer_synapses", "inputs", "outputs", "fan_in"]
LIMITS += ["fan_out", "weight_bits", "state_bits", "numbers", "recurrence"]


def chip(**limits):
    facts = {
        "name": "chip",
        "title": "A chip",
        "year": 2020,
        "neuron_model": "LIF",
        "sources": ("me",),
        "notes": "none",
    }
    return Chip(**facts, **limits)


def spiking(inputs=40, units=30, classes=5, part="head"):
    """Spikes to hidden units to readout neurons; the first synapses are pruned by half."""
    return [
        Layer(
            "encoder", part, "synapses", 10, parameters=inputs * units, nonzero=inputs * units // 2, fan_in=inputs,
            fan_out=units, outputs=units, by_spikes=True,
        ),
        Layer("hidden", part, "neurons", 10, outputs=units, states=units),
        Layer(
            "readout", part, "synapses", 10, parameters=units * classes, nonzero=units * classes, fan_in=units,
            fan_out=classes, outputs=classes, by_spikes=True,
        ),
        Layer("classes", part, "neurons", 10, outputs=classes, states=classes),
    ]  # fmt: skip


def find(report, limit):
    (check,) = [check for check in report.checks if check.limit == limit]
    return check


def test_the_package_has_these_chips():
    assert list_chips() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_chip_says_where_its_limits_are_from(name):
    found = load_chip(name)
    assert found.name == name
    assert all(re.search(r"https?://\S+", source) for source in found.sources)
    assert len(found.notes) > 50
    assert found.neurons
    assert found.weight_bits


@pytest.mark.parametrize("name", SHIPPED)
def test_a_small_spiking_network_fits_as_far_as_is_known(name):
    report = check_fit(spiking(), load_chip(name), 4, recurrent=False)
    assert report.fits is not False
    assert report.broken == ()


def test_limits_are_the_published_ones():
    speck, xylo, loihi = (load_chip(name) for name in ("speck", "xylo", "loihi2"))
    cores = [(16, 64)] * 3 + [(32, 32)] * 2 + [(64, 16)] * 2 + [(16, 16)] * 2  # Ki of weights, of neurons
    assert (speck.layers, speck.synapses) == (9, 1024 * sum(weights for weights, _ in cores))
    assert speck.neurons == 1024 * sum(neurons for _, neurons in cores)
    assert speck.layer_synapses == 1024 * 64
    assert (xylo.neurons, xylo.fan_out, xylo.weight_bits, xylo.state_bits) == (1000, 64, 8, 16)
    assert (loihi.graded, loihi.neurons, loihi.memory_bytes) == (True, 10**6, 128 * 192 * 1024)


def test_each_limit_has_a_check_with_what_is_needed_and_there():
    limits = {"neurons": 35, "synapses": 750, "memory_bytes": 750, "layers": 2, "layer_synapses": 600, "fan_in": 70}
    limits |= {
        "inputs": 40,
        "outputs": 5,
        "fan_out": 35,
        "weight_bits": 8,
        "state_bits": 8,
        "graded": False,
        "recurrence": False,
    }
    report = check_fit(spiking(), chip(**limits, processor=False), 8, inputs=40, outputs=5, recurrent=False)
    assert [check.limit for check in report.checks] == LIMITS
    found = {check.limit: (check.needed, check.available) for check in report.checks}
    numeric = {limit: (size, size) for limit, size in limits.items() if limit not in ("graded", "recurrence")}
    numeric |= {"fan_in": (30, 70), "fan_out": (15, 35)}  # means of one set; the largest of all sets together fit too
    assert found == {**numeric, "numbers": (0, 0), "recurrence": (0, 0)}
    assert report.fits is True
    assert all(check.fits is True and check.advice == "" for check in report.checks)


@pytest.mark.parametrize(
    ("limits", "advice"),
    [
        ({"neurons": 34}, "35 spiking neurons; at most 34 fit: shrink 'hidden' from 30 to 29 neurons or fewer"),
        ({"neurons": 5}, "35 spiking neurons; at most 5 fit: shrink all 2 populations to 5 neurons or fewer together"),
        ({"synapses": 749}, "750 weights that are not zero; at most 749 fit: keep 749 or fewer"),
        ({"memory_bytes": 749}, "750 bytes of weights of 8 bits; 749 fit: keep 749 weights or fewer, or quantize them "
                                "to 7 bits or fewer"),
        ({"memory_bytes": 99}, "750 bytes of weights of 8 bits; 99 fit: keep 99 weights or fewer, or quantize them to "
                               "1 bit or fewer"),
        ({"memory_bytes": 90}, "750 bytes of weights of 8 bits; 90 fit: keep 90 weights or fewer"),
        ({"layers": 1}, "2 sets of synapses; at most 1 fit"),
        ({"layer_synapses": 599}, "'encoder' has 600 weights that are not zero; one layer holds at most 599"),
        ({"inputs": 39}, "40 inputs; at most 39 fit: use fewer features"),
        ({"outputs": 4}, "5 outputs; at most 4 fit: use fewer classes"),
        ({"fan_in": 29}, "a target of 'readout' has 30 inputs; at most 29 fit"),
        ({"fan_out": 14}, "an input of 'encoder' has 15 targets; at most 14 fit"),
        ({"weight_bits": 7}, "weights of 8 bits; at most 7 fit: quantize them to 7 bits or fewer"),
        ({"state_bits": 7}, "states of 8 bits; at most 7 fit: quantize them to 7 bits or fewer"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_what_has_to_shrink(limits, advice):
    report = check_fit(spiking(), chip(**limits), 8, inputs=40, outputs=5)
    (check,) = report.broken
    assert (report.fits, check.limit) == (False, *limits)
    assert check.advice.startswith(advice)


@pytest.mark.parametrize(
    ("limit", "least", "most"),
    [("fan_in", 30, 70), ("fan_out", 15, 35)],  # pruned: of 40 inputs, or 30 targets, 20 or 15 are left on average
)
def test_connections_of_a_neuron_between_the_mean_of_one_set_and_the_largest_of_all_are_not_known(limit, least, most):
    fits = [
        find(check_fit(spiking(), chip(**{limit: room}), 8), limit).fits for room in (least - 1, least, most - 1, most)
    ]
    assert fits == [False, None, None, True]
    checks = [find(check_fit(spiking(), chip(**{limit: room}), 8), limit) for room in (least, most)]
    assert [(check.needed, check.most) for check in checks] == [(least, most)] * 2


def test_one_set_without_zeros_has_the_same_connections_everywhere():
    one = [Layer("one to one", "head", "synapses", 10, 30, 30, fan_in=1, fan_out=1, outputs=30, dense_macs=300)]
    report = check_fit(one, chip(fan_in=1, fan_out=1), 8)
    assert (find(report, "fan_in").fits, find(report, "fan_out").fits) == (True, True)


def test_advice_is_enough():
    layers = spiking(units=2048)
    xylo = load_chip("xylo")
    check = find(check_fit(layers, xylo, 8), "neurons")
    assert check.fits is False
    assert "shrink 'hidden' from 2,048 to 995 neurons or fewer (hidden units: model.units)" in check.advice
    assert find(check_fit(spiking(units=995), xylo, 8), "neurons").fits is True
    assert find(check_fit(spiking(units=996), xylo, 8), "neurons").fits is False


def test_what_is_not_published_is_not_known_to_fit():
    report = check_fit(spiking(), chip(), 8)
    assert report.fits is None
    assert {check.limit: check.fits for check in report.checks} == {**dict.fromkeys(LIMITS), "numbers": True}
    assert all(check.available is None for check in report.checks if check.limit != "numbers")
    assert check_fit(spiking(), chip(neurons=1), 8).fits is False


NUMBERS = [
    Layer("input", "head", "synapses", 10, parameters=8, nonzero=8, fan_in=8, fan_out=1, outputs=1, values=80),
    Layer("lowpass", "head", "states", 10, outputs=8, states=8, state_updates=80),
]


@pytest.mark.parametrize(
    ("facts", "fits"),
    [
        ({"graded": True}, True),
        ({"graded": False, "processor": True}, True),
        ({"graded": False, "processor": False}, False),
        ({"graded": False}, None),
        ({"processor": False}, None),
        ({}, None),
    ],
)
def test_numbers_need_graded_events_or_a_processor(facts, fits):
    check = find(check_fit([*spiking(), *NUMBERS], chip(**facts), 8), "numbers")
    assert (check.needed, check.fits) == (2, fits)
    assert bool(check.advice) == (fits is False)
    assert find(check_fit(spiking(), chip(**facts), 8), "numbers").fits is True


def test_a_layer_of_numbers_is_named():
    advice = find(check_fit(NUMBERS[:1], load_chip("xylo"), 8), "numbers").advice
    assert advice.startswith("'input': numbers, not spikes")
    assert "compute this layer beside it" in advice
    many = [replace(NUMBERS[1], name=f"filter {index}") for index in range(7)]
    assert "'filter 4' and 2 more: " in find(check_fit(many, load_chip("xylo"), 8), "numbers").advice


@pytest.mark.parametrize("recurrence", [True, False, None])
@pytest.mark.parametrize("recurrent", [True, False, None])
def test_recurrence(recurrent, recurrence):
    check = find(check_fit(spiking(), chip(recurrence=recurrence), 8, recurrent=recurrent), "recurrence")
    wanted = True if recurrence or recurrent is False else False if recurrent and recurrence is False else None
    assert check.fits is wanted
    assert bool(check.advice) == (wanted is False)


def test_what_comes_in_and_goes_out_of_xylo_is_limited():
    xylo = load_chip("xylo")
    assert check_fit(spiking(16, 30, 8), xylo, 8, inputs=16, outputs=8, recurrent=True).broken == ()
    large = check_fit(spiking(17, 30, 9), xylo, 8, inputs=17, outputs=9, recurrent=True)
    assert [check.limit for check in large.broken] == ["inputs", "outputs"]
    unknown = check_fit(spiking(), xylo, 8)
    assert [find(unknown, limit).fits for limit in ("inputs", "outputs")] == [None, None]


def test_the_backbone_counts_only_where_it_is_asked_for():
    layers = [*spiking(), *spiking(units=10_000, part="backbone")]
    small = chip(neurons=100, graded=False, processor=False)
    assert check_fit(layers, small, 8) == check_fit(spiking(), small, 8)
    report = check_fit(layers, small, 8, whole=True)
    assert find(report, "neurons").needed == 35 + 10_005
    assert report.broken
    assert report.whole


def test_nothing_fits_anywhere():
    report = check_fit([], chip(), 8, inputs=0, outputs=0, recurrent=False)
    assert report.fits is True
    assert all(check.needed == 0 for check in report.checks)
    full = chip(neurons=1, synapses=1, memory_bytes=1, fan_in=1, weight_bits=1, graded=False, processor=False)
    assert check_fit([], full, 8, inputs=0, outputs=0, recurrent=False).fits is True


def test_a_report_is_written_as_json():
    report = check_fit(spiking(), chip(neurons=34), 8)
    raw = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (raw["chip"], raw["bits"], raw["whole"], raw["fits"]) == ("chip", 8, False, False)
    assert raw["checks"][0]["advice"] == report.checks[0].advice
    assert len(raw["checks"]) == len(LIMITS)
    assert raw["why"] == [report.checks[0].advice]


sizes = st.integers(1, 3000)


@given(st.sampled_from(SHIPPED), st.integers(1, 16), sizes, sizes, sizes, st.data())
def test_what_fits_still_fits_when_it_shrinks(name, bits, inputs, units, classes, data):
    found = load_chip(name)
    large = check_fit(spiking(inputs, units, classes), found, bits)
    smaller = [data.draw(st.integers(1, size)) for size in (inputs, units, classes)]
    small = check_fit(spiking(*smaller), found, data.draw(st.integers(1, bits)))
    for before, after in zip(large.checks, small.checks, strict=True):
        assert after.needed is None or after.needed <= before.needed
        assert before.fits is not True or after.fits is True


@given(st.lists(sizes, min_size=1, max_size=4), sizes)
def test_neurons_fit_up_to_the_limit(populations, limit):
    layers = [Layer(str(index), "head", "neurons", 1, outputs=size) for index, size in enumerate(populations)]
    check = find(check_fit(layers, chip(neurons=limit), 8), "neurons")
    assert check.fits == (sum(populations) <= limit)
    if found := re.search(r"shrink '(\d)' from ([\d,]+) to ([\d,]+)", check.advice):
        index, before, after = (int(text.replace(",", "")) for text in found.groups())
        assert populations[index] == before
        layers[index] = replace(layers[index], outputs=after)
        assert find(check_fit(layers, chip(neurons=limit), 8), "neurons").fits is True


def test_errors():
    with pytest.raises(ConfigError, match=r"unknown chip 'loihi'; did you mean 'loihi2'\? .*akida.*t1"):
        load_chip("loihi")
    with pytest.raises(ConfigError, match="bits: must be 1 or more"):
        check_fit([], chip(), 0)


def test_a_user_gives_the_path_of_an_own_chip(tmp_path):
    path = tmp_path / "mine.json"
    raw = {"name": "mine", "title": "Mine", "year": 2026, "neuron_model": "LIF", "sources": ["me"], "notes": "none"}
    path.write_text(json.dumps({**raw, "neurons": 7}))
    assert (load_chip(str(path)).neurons, load_chip(str(path)).synapses) == (7, None)
    path.write_text(json.dumps({**raw, "nurons": 7}))
    with pytest.raises(ConfigError, match=r"mine\.json: nurons: unknown key; did you mean 'neurons'"):
        load_chip(str(path))


def test_weights_that_were_trained_to_have_fewer_bits_need_those():
    encoder, *rest = spiking()
    layers = [replace(encoder, weight_bits=4), *rest]  # 600 weights of 4 bits, 150 of 8
    report = check_fit(layers, chip(memory_bytes=449, weight_bits=4), 8)
    memory = find(report, "memory_bytes")
    assert (memory.needed, memory.fits) == (450, False)
    assert "450 bytes of weights of 4 and 8 bits; 449 fit: keep 748 weights or fewer" in memory.advice
    assert find(report, "weight_bits").needed == 8
    every = [replace(layer, weight_bits=4) if layer.kind == "synapses" else layer for layer in layers]
    assert check_fit(every, chip(memory_bytes=375, weight_bits=4), 8).broken == ()
