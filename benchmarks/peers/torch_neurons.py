"""Neurons of snnTorch, SpikingJelly and Norse on the CPU: the time of the fastest form, as one line of JSON.

    python torch_neurons.py {snntorch,spikingjelly,norse} lif BATCH train
    python torch_neurons.py {snntorch,spikingjelly} array BATCH {train,infer}

``lif``: 1024 leaky neurons over 100 steps, from input currents to spikes, and back to the currents' gradient.
``array``: 1000 values over 25 steps, each to 50 integrate-and-fire neurons, and their spikes back to one decoded value;
``train`` takes the gradient of values, gains, biases and decoders.

Each library has its own surrogate, and its tensors lie with time first, as it wants them. Each form that a library
offers is timed, after a warm-up, with freed memory kept for the next run, as this project's own training does.
"""

import ctypes
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))
from timing import time_of

LIF_STEPS, LIF_NEURONS, TAU = 100, 1024, 20.0  # a membrane of 20 steps
STEPS, ENSEMBLES, NEURONS = 25, 1000, 50
BETA = math.exp(-1 / TAU)

Sequence = Callable[[Tensor], Tensor]  # spikes (T, ...) of currents (T, ...)
Step = Callable[[Tensor], Tensor]  # spikes (...) of currents (...), one step after another


def over_time(new_step: Callable[[], Step]) -> Sequence:
    """A loop over time; ``new_step`` makes a step whose state is that before the first."""

    def run(currents: Tensor) -> Tensor:
        step = new_step()
        return torch.stack([step(current) for current in currents])

    return run


def snntorch_step(beta: float, reset: str) -> Callable[[], Step]:
    """snnTorch's ``Leaky``."""
    import snntorch

    neuron = snntorch.Leaky(beta=beta, reset_mechanism=reset)

    def new() -> Step:
        membrane = neuron.reset_mem()

        def step(current: Tensor) -> Tensor:
            nonlocal membrane
            spikes, membrane = neuron(current, membrane)
            return spikes

        return step

    return new


def spikingjelly_neuron(kind: str, mode: str, **settings: object) -> Callable[[], Step]:
    """SpikingJelly's ``LIFNode`` or ``IFNode`` at rest, for a step (mode "s") or for a sequence ("m")."""
    from spikingjelly.activation_based import neuron

    node = getattr(neuron, kind)(step_mode=mode, **settings)

    def new() -> Step:
        node.reset()
        return node

    return new


def norse_step(cell: Callable) -> Callable[[], Step]:
    """A cell of Norse."""

    def new() -> Step:
        state = None

        def step(current: Tensor) -> Tensor:
            nonlocal state
            spikes, state = cell(current, state)
            return spikes

        return step

    return new


def lif_forms(library: str) -> dict[str, tuple[float, Sequence]]:
    """What a library has for leaky neurons over time, each with the input that stands for a current of 1."""
    if library == "snntorch":
        forms = {f"Leaky, reset {reset}": over_time(snntorch_step(BETA, reset)) for reset in ("subtract", "zero")}
        return {name: (1 - BETA, form) for name, form in forms.items()}
    if library == "spikingjelly":
        forms = {}
        for decay in (True, False):
            for mode in "ms":
                new = spikingjelly_neuron("LIFNode", mode, tau=TAU, decay_input=decay)
                run = over_time(new) if mode == "s" else lambda currents, new=new: new()(currents)
                forms[f"LIFNode, step_mode {mode}, decay_input {decay}"] = (1.0 if decay else 1 / TAU, run)
        return forms
    import norse.torch as norse
    from norse.torch.functional.lif import lif_feed_forward_integral

    box = norse.LIFBoxParameters(tau_mem_inv=torch.as_tensor(1000 / TAU))
    lif = norse.LIFParameters(tau_mem_inv=torch.as_tensor(1000 / TAU))
    zero = torch.as_tensor(0.0)
    synapse = float(lif.tau_syn_inv) / 1000  # the sum of what one input leaves in the synapse is its inverse
    return {
        "LIFBoxCell": (1.0, over_time(norse_step(norse.LIFBoxCell(box)))),
        "LIFCell": (synapse, over_time(norse_step(norse.LIFCell(lif)))),
        "LIF": (synapse, lambda currents: norse.LIF(lif)(currents)[0]),
        "lif_feed_forward_integral": (
            synapse,
            lambda currents: lif_feed_forward_integral(currents, norse.LIFFeedForwardState(zero, zero), lif)[0],
        ),
    }


def time_lif(library: str, batch: int) -> dict[str, tuple[float, float]]:
    """Seconds and spikes a neuron-step of each form."""
    currents = 3 * torch.rand(batch, LIF_NEURONS) + 0.5 * torch.randn(LIF_STEPS, batch, LIF_NEURONS)
    upstream = torch.randn_like(currents)

    def differentiate(run: Sequence, x: Tensor) -> object:
        return torch.autograd.grad(run(x), x, upstream)  # of (spikes * upstream).sum()

    found = {}
    for name, (unit, run) in lif_forms(library).items():
        x = (currents * unit).requires_grad_()
        found[name] = (time_of(partial(differentiate, run, x)), run(x).mean().item())
    return found


def array_forms(library: str) -> dict[str, tuple[bool, Callable[[], Step]]]:
    """What a library has for integrate-and-fire neurons reset by subtraction, and whether it takes a sequence."""
    if library == "snntorch":
        return {"Leaky(beta=1)": (False, snntorch_step(1.0, "subtract"))}
    return {
        f"IFNode, step_mode {mode}": (mode == "m", spikingjelly_neuron("IFNode", mode, v_reset=None)) for mode in "ms"
    }


def decode(
    new: Callable[[], Step], sequence: bool, values: Tensor, gain: Tensor, bias: Tensor, decoders: Tensor
) -> Tensor:
    """Decoded values (T, B, E); neurons that take no sequence never make one of currents."""
    neuron = new()

    def run(values: Tensor) -> Tensor:
        return (neuron(torch.addcmul(bias, gain, values.unsqueeze(-1))) * decoders).sum(-1)

    return run(values) if sequence else torch.stack([run(now) for now in values])


def time_array(library: str, batch: int, train: bool) -> dict[str, tuple[float, float]]:
    """Seconds and spikes a neuron-step of each form."""
    shape = ENSEMBLES, NEURONS
    intercepts = 1.9 * torch.rand(shape) - 1
    gain = (0.2 + 0.2 * torch.rand(shape)) / (1 - intercepts)  # in thresholds a step
    encoders = torch.randint(0, 2, shape) * 2 - 1
    values = 2 * torch.rand(STEPS, batch, ENSEMBLES) - 1
    inputs = [values, gain * encoders, -intercepts * gain, torch.randn(shape) / NEURONS]
    inputs = [tensor.requires_grad_(train) for tensor in inputs]
    upstream = torch.randn(values.shape)

    def work(new: Callable[[], Step], sequence: bool) -> object:
        decoded = decode(new, sequence, *inputs)
        return torch.autograd.grad(decoded, inputs, upstream) if train else decoded

    found = {}
    for name, (sequence, new) in array_forms(library).items():
        with torch.set_grad_enabled(train):
            seconds = time_of(partial(work, new, sequence))
        with torch.no_grad():
            spikes = decode(new, sequence, *inputs[:3], torch.full(shape, 1 / NEURONS))
        found[name] = (seconds, spikes.mean().item())
    return found


def main() -> None:
    library, task, batch, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if sys.platform == "linux":  # as snn_action.core.malloc
        for option in (-3, -1):
            ctypes.CDLL(None).mallopt(option, 2**30)
    torch.manual_seed(0)
    if task == "lif":
        found, count = time_lif(library, batch), batch * LIF_STEPS * LIF_NEURONS
    else:
        found, count = time_array(library, batch, what == "train"), batch * STEPS * ENSEMBLES * NEURONS
    form = min(found, key=lambda name: found[name][0])
    seconds, spikes = found[form]
    result = {
        "form": form,
        "milliseconds": 1000 * seconds,
        "neuron_steps_per_second": count / seconds,
        "spikes_per_neuron_step": spikes,
        "milliseconds_of_forms": {name: 1000 * found[name][0] for name in found},
    }
    print(json.dumps(result))


main()
