"""What one thread does for a few spiking rectified linear neurons of 16 clips, over all time steps.

For each neuron, with the value ``x_t`` that its ensemble stands for (all in units of the threshold and of a step):

    c_t = gain x_t + bias,  u_t = v_{t-1} + max(c_t, 0),  n_t = floor(u_t),  v_t = u_t - n_t
    decoded_t = sum over neurons of decoder n_t

Each instruction takes addresses of float32 numbers: ``x``, ``real``, ``sums``, ``grads``, ``full`` (T, 16), ``v``
(neurons, 16), ``gain``, ``bias``, ``decoder`` (neurons,). ``real`` is 1 on real steps and 0 on padding, where neurons
get no current.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from snn_action.kernels.vector import (
    Memory,
    Vector,
    at_least,
    constant,
    floor,
    fma,
    instruction,
    loop,
    relu,
    rint,
    spread,
    where_positive,
)

TOGETHER = 5  # neurons in registers: forward, voltages, gains, biases and decoders fill 20 of 32
TOGETHER_BACKWARD = 2  # the same, backward, where sums of three gradients stay there too


def integrate(voltage: Vector, current: Vector) -> tuple[Vector, Vector, Vector]:
    """One step: spikes, the voltage after it, and that before the reset."""
    full = voltage + current
    spikes = floor(full)
    return spikes, full - spikes, full


def sum_pairs(vectors: Sequence[Vector]) -> Vector:
    """Their sum, in pairs of pairs, so that few additions wait for one another."""
    if len(vectors) == 1:
        return vectors[0]
    half = len(vectors) // 2
    return sum_pairs(vectors[:half]) + sum_pairs(vectors[half:])


def arctan_slope(full: Vector) -> Vector:
    """``1 / (1 + (pi (u - nearest threshold))^2)``, see ``neurons.surrogate``."""
    one = constant(full.builder, 1.0)
    distance = (full - at_least(rint(full), 1.0)) * constant(full.builder, math.pi)
    return one / fma(distance, distance, one)


def _advance(builder: Any, places: list[Any], masked: bool, rates: bool) -> None:
    """steps, x, real, gain, bias, decoder, v, sums, count: add to sums and count (16,), leave voltages in v."""
    steps, x, real, *weights, v, sums, count = places
    gains, biases, decoders = (spread(builder, place, TOGETHER) for place in weights)
    values, masks, voltages, totals, counts = (Memory(builder, place) for place in (x, real, v, sums, count))

    def body(t: Any, carried: list[Vector]) -> list[Vector]:
        now, total, n = values.load(t), totals.load(t), carried[-1]
        after, fired = [], []
        for gain, bias, decoder, voltage in zip(gains, biases, decoders, carried[:-1], strict=True):
            current = relu(fma(gain, now, bias))
            if masked:
                current = current * masks.load(t)
            spikes, left = current, voltage
            if not rates:
                spikes, left, _ = integrate(voltage, current)
            total = fma(decoder, spikes, total)
            after.append(left)
            fired.append(spikes)
        totals.store(t, total)
        return [*after, n + sum_pairs(fired)]

    *last, n = loop(builder, steps, [*(voltages.load(i) for i in range(TOGETHER)), counts.load(0)], body)
    for i, voltage in enumerate(last):
        voltages.store(i, voltage)
    counts.store(0, n)


def _retreat(builder: Any, places: list[Any], masked: bool, rates: bool) -> None:
    """steps, x, real, gain, bias, decoder, v, grads, of_spike, sums, results: gradients with dn / dc = [c > 0].

    Adds to sums the gradient for x; writes, for each neuron, those for gain, bias and decoder (3 neurons, 16).
    """
    steps, x, real, *weights, v, grads, of_spike, sums, results = places
    gains, biases, decoders = (spread(builder, place, TOGETHER_BACKWARD) for place in weights)
    values, masks, voltages, wanted, totals = (Memory(builder, place) for place in (x, real, v, grads, sums))
    for_itself = Memory(builder, of_spike).load(0)

    def body(t: Any, carried: list[Vector]) -> list[Vector]:
        now, grad, total = values.load(t), wanted.load(t), totals.load(t)
        after = []
        for i in range(TOGETHER_BACKWARD):
            voltage, of_gain, of_bias, of_decoder = carried[4 * i : 4 * i + 4]
            drive = fma(gains[i], now, biases[i])
            slope = where_positive(drive, fma(grad, decoders[i], for_itself))
            current = relu(drive)
            if masked:
                current, slope = current * masks.load(t), slope * masks.load(t)
            spikes = current
            if not rates:
                spikes, voltage, _ = integrate(voltage, current)
            total = fma(slope, gains[i], total)
            after += [voltage, fma(slope, now, of_gain), of_bias + slope, fma(grad, spikes, of_decoder)]
        totals.store(t, total)
        return after

    zero = constant(builder, 0.0)
    start = [vector for i in range(TOGETHER_BACKWARD) for vector in (voltages.load(i), zero, zero, zero)]
    last = loop(builder, steps, start, body)
    for i in range(TOGETHER_BACKWARD):
        for kind in range(3):
            Memory(builder, results).store(3 * i + kind, last[4 * i + 1 + kind])


def _through_time(builder: Any, places: list[Any], masked: bool) -> None:
    """As ``_retreat`` and then full: one neuron, back through time; its voltages before the reset pass through full.

    dL/du_t = s_t dL/dn_t + (1 - s_t) dL/du_{t+1},  dL/dc_t = [c_t > 0] dL/du_t,  s the arctan surrogate
    """
    steps, x, real, *weights, v, grads, of_spike, sums, results, full = places
    (gain,), (bias,), (decoder,) = (spread(builder, place, 1) for place in weights)
    values, masks, wanted, totals, fulls = (Memory(builder, place) for place in (x, real, grads, sums, full))
    for_itself = Memory(builder, of_spike).load(0)
    zero, one = constant(builder, 0.0), constant(builder, 1.0)

    def onward(t: Any, carried: list[Vector]) -> list[Vector]:
        current = relu(fma(gain, values.load(t), bias))
        spikes, voltage, before = integrate(carried[0], current * masks.load(t) if masked else current)
        fulls.store(t, before)
        return [voltage, fma(wanted.load(t), spikes, carried[1])]

    def back(turn: Any, carried: list[Vector]) -> list[Vector]:
        t = builder.sub(builder.sub(steps, turn), turn.type(1))
        now, (later, of_gain, of_bias) = values.load(t), carried
        share = arctan_slope(fulls.load(t))
        if masked:  # on padding nothing spikes and the voltage stays as it is
            share = share * masks.load(t)
        of_full = fma(share, fma(wanted.load(t), decoder, for_itself), (one - share) * later)
        slope = where_positive(fma(gain, now, bias), of_full)
        if masked:
            slope = slope * masks.load(t)
        totals.store(t, fma(slope, gain, totals.load(t)))
        return [of_full, fma(slope, now, of_gain), of_bias + slope]

    _, of_decoder = loop(builder, steps, [Memory(builder, v).load(0), zero], onward)
    _, of_gain, of_bias = loop(builder, steps, [zero, zero, zero], back)
    for i, vector in enumerate((of_gain, of_bias, of_decoder)):
        Memory(builder, results).store(i, vector)


advance, advance_masked = (instruction(9, partial(_advance, masked=masked, rates=False)) for masked in (False, True))
sum_rates, sum_rates_masked = (instruction(9, partial(_advance, masked=masked, rates=True)) for masked in (False, True))
retreat, retreat_masked = (instruction(11, partial(_retreat, masked=masked, rates=False)) for masked in (False, True))
retreat_rates, retreat_rates_masked = (
    instruction(11, partial(_retreat, masked=masked, rates=True)) for masked in (False, True)
)
through_time, through_time_masked = (instruction(12, partial(_through_time, masked=masked)) for masked in (False, True))
