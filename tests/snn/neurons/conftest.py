"""A reference that the LIF family's tests share."""

from typing import NamedTuple

import numpy as np
import pytest


class Course(NamedTuple):
    """Spikes (T, N), the state (N,) after the last step, and the gradient (T, N) of the currents."""

    spikes: np.ndarray
    voltage: np.ndarray
    refractory_time: np.ndarray
    adaptation: np.ndarray
    gradient: np.ndarray


@pytest.fixture
def follow_lif():
    """By hand, step by step and back: LIF neurons with adaptation, which ``inc_n`` 0 leaves out.

    The gradient is that of ``sum(weights * output)`` with the arctan surrogate.
    """

    def follow(
        current, weights, *, dt=0.001, tau_rc=0.02, tau_ref=0.002, min_voltage=0.0, amplitude=1.0, tau_n=1.0, inc_n=0.0
    ) -> Course:
        share, height, floor = dt / tau_n, amplitude / dt, min_voltage
        (v, w, n), tape = np.zeros((3, current.shape[1])), []
        for drive in current:
            j, wait = drive - n, w - dt
            left, is_open = np.clip(dt - wait, 0, dt), (dt - wait >= 0) & (dt - wait <= dt)
            keep = np.exp(-left / tau_rc)
            u = j + (v - j) * keep
            s = (u > 1).astype(float)
            over = np.where(s > 0, j - 1, 1.0)
            late = np.where(s > 0, (u - 1) / over, 0)
            time = dt + tau_rc * np.log(1 - late)
            time_u = -s * tau_rc / (1 - late) / np.maximum(over, 0.1)
            time_j = s * tau_rc / (1 - late) * np.where(over > 0.1, (u - 1) / over**2, 0)
            g = 1 / (1 + (np.pi * (u - 1)) ** 2)
            v_u = (u >= floor) * (1 - s) - np.maximum(u, floor) * g
            w_u = g * (tau_ref + time - wait) + time_u
            tape.append((keep, -(j - v) * keep / tau_rc * is_open, s, g, v_u, w_u, time_j))
            v, w = np.maximum(u, floor) * (1 - s), np.where(s > 0, tau_ref + time, wait)
            n = n + share * (inc_n * height * s - n)
        gradient, (of_v, of_w, of_n) = np.zeros_like(current), np.zeros((3, current.shape[1]))
        for t in reversed(range(len(tape))):
            keep, u_w, s, g, v_u, w_u, time_j = tape[t]
            of_u = (weights[t] + share * inc_n * of_n) * g * height + of_v * v_u + of_w * w_u
            gradient[t] = of_u * (1 - keep) + of_w * time_j
            of_v, of_w = of_u * keep, of_u * u_w + of_w * (1 - s)
            of_n = of_n * (1 - share) - gradient[t]
        return Course(height * np.array([step[2] for step in tape]), v, w, n, gradient)

    return follow
