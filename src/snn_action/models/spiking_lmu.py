"""Spiking Legendre Memory Unit, trained through its own spikes.

    u_t = W_u x_t                                       (memory_d), with ``spiking_input`` as ensembles decode it
    m_t = A m_{t-1} + B u_t                             (memory_d, order): ``legendre``; with ``spiking_memory`` below
    s_t = neuron(I (W_m m_t + W_x x_t + b)) / r         (units) spikes, r the mean of ``max_rates``, I below
    logits_t = leak(W_out s_t) + c                      a leaky integrator of each class: Lowpass, ``tau_readout``

What is spikes and what is not: hidden units always send spikes, and nothing else reaches the logits. The input is
features of a CNN, numbers that enter the first neurons as currents. Without the two options below the memory is a
linear filter of numbers; with both, every value that one part hands to another is spikes.

- ``spiking_input``: each u is the value of an ensemble of ``ensemble_neurons`` neurons (as in the ensemble array), and
  the memory gets what their spikes decode to.
- ``spiking_memory``: each coefficient of the memory is the value of such an ensemble, which feeds back through its own
  synapse of time constant ``tau_memory`` (Neural Engineering Framework, Eliasmith and Anderson 2003):

      m_t = a m_{t-1} + (1 - a) (A' d_{t-1} + B' u_t),  A' = (A - a I) / (1 - a),  B' = B / (1 - a),  a = exp(-dt / tau)

  with d what the spikes of the last step decode to (of a clip's first step: zero); the hidden units get d_t for m_t.
  Were decoding exact, d = m, this would be the memory itself.

At the start hidden units lie like the neurons of one large ensemble: each prefers a random direction of the memory
(or, with ``encoders: on_off``, stands for or against one of its coefficients), with a gain and a bias from
``max_rates`` and ``intercepts``; W_m, W_x and b are these, in units of the current I that lifts a neuron from silence
to the mean maximal rate r, and learn from there. Ensembles of input and memory hand values on: their gradient is that
of their rates (``spike_aware``) where the neuron has one, and with ``gradient: rate`` they train on rates as well.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.models import stream_step
from snn_action.models.base import InputStandardizer, Population, TemporalModel, drop
from snn_action.models.differences import Past, start_past
from snn_action.models.lmu import enter, prefer_coefficients, select_inputs
from snn_action.models.reading import enter_memory, leave_memory, read_once, start_receivers
from snn_action.models.readout import solve_readout
from snn_action.models.settings import Encoders, Input, Readout, Scaling, SpikingLMUSettings
from snn_action.models.transmission import Received
from snn_action.models.value_ensembles import Activity, Ensembles
from snn_action.snn.counting import Connection, by_decoded, count_as, count_elsewhere, count_updates
from snn_action.snn.legendre import LegendreMemory
from snn_action.snn.masks import hold
from snn_action.snn.neurons.base import Neuron
from snn_action.snn.neurons.synapses import Lowpass, LowpassState
from snn_action.snn.settings import Discretizer, Gradient, NeuronSettings, Trained


class SpikingLMUState(NamedTuple):
    """Memory (B, memory_d, order), populations (None: does not spike), leaky logits (B, K), past inputs if used.

    And what was received of input and memory, where they are sent as changes.
    """

    memory: Tensor
    input: Activity | None
    coefficients: Activity | None
    hidden: Activity
    leaky: LowpassState
    past: Past | None
    sent_input: Received | None = None
    sent_memory: Received | None = None


class SpikingLMU(TemporalModel):
    """Spiking units that read a Legendre memory: ``s_t = neuron(I (W_m m_t + W_x x_t + b)) / r``."""

    Settings = SpikingLMUSettings
    settings: SpikingLMUSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            scaling: Scaling = "global",
            normalize: bool = True,
            units: int = 128,
            order: int = 4,
            theta: float = 28.0,
            memory_d: int = 128,
            discretizer: Discretizer = "zoh",
            trained: Trained = "none",
            input_to_hidden: bool = False,
            input_dropout: float = 0.0,
            input_noise: float = 0.0,
            dropout: float = 0.5,
            differences: int = 0,
            encoders: Encoders = "random",
            readout: Readout = "random",
            readout_strength: float = 0.3,
            opposed: bool = False,
            input_threshold: float | None = None,
            memory_threshold: float | None = None,
            neuron: NeuronSettings | Mapping[str, Any] = ...,
            gradient: Gradient = "surrogate",
            max_rates: tuple[float, float] = (50.0, 150.0),
            intercepts: tuple[float, float] = (-0.5, 0.5),
            tau_readout: float = 0.02,
            spiking_input: bool = False,
            spiking_memory: bool = False,
            ensemble_neurons: int = 20,
            ensemble_rates: tuple[float, float] = (200.0, 400.0),
            radius: float = 3.0,
            tau_memory: float = 0.1,
            settings: SpikingLMUSettings | None = None,
        ) -> None: ...

    def make_parts(self) -> None:
        """See the class."""
        s = self.settings
        self.standardizer = InputStandardizer(self.in_features, s.scaling, s.normalize and not s.differences)
        size = s.memory_d * s.order
        self.encoder = nn.Linear(self.in_features, s.memory_d, bias=False)
        nn.init.normal_(self.encoder.weight, std=1 / math.sqrt(self.in_features))
        self.memory = LegendreMemory(s.order, s.theta, s.discretizer, s.trained)
        self.neuron: Neuron = s.neuron.build(s.gradient)
        self.input_ensembles = Ensembles(s.memory_d, self._make_neuron(), s) if s.spiking_input else None
        self.memory_ensembles = Ensembles(size, self._make_neuron(), s) if s.spiking_memory else None
        self.memory_kernel = nn.Linear(size, s.units)
        self.input_kernel = nn.Linear(self.in_features, s.units, bias=False) if s.input_to_hidden else None
        self.readout = nn.Linear(s.units, self.num_classes)
        self.leak = Lowpass(s.tau_readout, self.neuron.dt)
        self.rate_unit = sum(s.max_rates) / 2
        self.current_unit = float(self.neuron.gain_bias(torch.tensor([self.rate_unit]), torch.zeros(1))[0])
        self._spread_units()
        populations = [Population("hidden", s.units, self.num_classes, biases=self.num_classes)]
        if s.spiking_memory:  # onto the decoded value
            populations.insert(0, Population("memory", size * s.ensemble_neurons, 1, size))
        if s.spiking_input:
            populations.insert(0, Population("input", s.memory_d * s.ensemble_neurons, 1, s.memory_d))
        self.populations = tuple(populations) if self.neuron.spiking else ()

    def _make_neuron(self) -> Neuron:
        """Of ensembles: see the module."""
        mode: Gradient = self.settings.gradient
        if mode != "rate" and "spike_aware" in type(self.neuron).gradients:
            mode = "spike_aware"
        neuron: Neuron = self.settings.neuron.build(mode)
        return neuron

    def _spread_units(self) -> None:
        """Hidden units' preferred directions, gains and biases: see the module."""
        s = self.settings
        gain, bias = self.neuron.gain_bias(
            torch.empty(s.units).uniform_(*s.max_rates), torch.empty(s.units).uniform_(*s.intercepts)
        )
        gain, bias = gain / self.current_unit, bias / self.current_unit
        # A direction's value has the deviation of u times sqrt(share of the coefficients that u fills, one of `order`).
        directions = torch.randn(s.units, s.memory_d * s.order)
        directions.div_(directions.norm(dim=1, keepdim=True).clamp_min(1e-12)).mul_(math.sqrt(s.order))  # may be large
        with torch.no_grad():
            self.memory_kernel.weight.copy_(directions)
            if s.encoders != "random":
                prefer_coefficients(self.encoder, self.memory_kernel, s.encoders)
            self.memory_kernel.weight.mul_(gain.unsqueeze(1))
            self.memory_kernel.bias.copy_(bias)
            if self.input_kernel is not None:
                self.input_kernel.weight.copy_(F.normalize(torch.randn(s.units, self.in_features)) * gain.unsqueeze(1))

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> SpikingLMUState:
        """An empty memory, neurons as their ``initial_voltage`` says, no spike yet."""
        s = self.settings
        entered, coefficients = (
            None if part is None else part.initial_state(batch, device, dtype)
            for part in (self.input_ensembles, self.memory_ensembles)
        )
        hidden = self.neuron.initial_state(batch, (s.units,), device, dtype)
        return SpikingLMUState(
            torch.zeros(batch, s.memory_d, s.order, device=device, dtype=dtype),
            entered,
            coefficients,
            Activity(hidden, torch.zeros(batch, device=device, dtype=dtype)),
            self.leak.initial_state(batch, self.num_classes, device, dtype),
            start_past(batch, s.differences, self.in_features, device, dtype) if s.differences else None,
            *start_receivers(self, s, batch, device, dtype),
        )

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Also select inputs and solve the output weights where settings say so: see ``elimination``, ``readout``."""
        super().prepare(features, mask, labels)
        if self.settings.encoders == "selected":
            select_inputs(self, features, mask, labels)
        regression = self.settings.readout, self.settings.readout_strength, self.settings.opposed
        solve_readout(self, self.readout, self._filter_spikes, features, mask, labels, *regression)

    def _filter_spikes(self, x: Tensor, state: SpikingLMUState, mask: Tensor | None) -> Tensor:
        """The hidden units' spikes behind the readout's leak (B, T, units)."""
        spikes, _ = self._spike(x, state, mask)
        filtered: Tensor = self.leak(spikes / self.rate_unit, None, mask)[0]
        return filtered

    def forward_steps(self, x: Tensor, state: SpikingLMUState, mask: Tensor | None) -> tuple[Tensor, SpikingLMUState]:
        """Logits of all steps, a leaky integral of ``W_out s_t``, and the state after them."""
        spikes, after = self._spike(x, state, mask)
        shown = drop(spikes / self.rate_unit, self.settings.dropout, self.training)
        logits, leaky = self.leak(self._weigh(shown), state.leaky, mask)
        return logits + self.readout.bias, after._replace(leaky=leaky)

    def step_once(self, x: Tensor, state: SpikingLMUState) -> tuple[Tensor, SpikingLMUState]:
        """One step: the memory is one small product, and most of the rest is compiled where it can be."""
        if self.training or self.input_ensembles is not None or self.memory_ensembles is not None:
            return super().step_once(x, state)
        entered, past = enter(x.unsqueeze(1), state.past, None, self.settings, training=False)
        x, hidden = entered.squeeze(1), state.hidden
        plan = stream_step.find_plan(self, x)
        if plan is None:
            memory, current, *sent = read_once(self, x, state)
            spikes, neurons = self.neuron.step(current.to(self.readout.weight) * self.current_unit, hidden.neurons)
            fired = self.neuron.count_all(spikes, (1,))
            logits, leaky = self.leak.step(self._weigh(spikes / self.rate_unit), state.leaky)
            logits = logits + self.readout.bias
        else:
            memory, current, *sent = stream_step.read_in(plan, x, state)
            spikes, neurons = stream_step.fire(self.neuron, current, self.current_unit, hidden.neurons)
            keep = math.exp(-self.neuron.dt / self.settings.tau_readout)
            logits, value, sums = stream_step.read_out(plan, spikes, 1 / self.rate_unit, keep, state.leaky.value)
            leaky, fired = LowpassState(value), self.neuron.count(sums)
        after = Activity(neurons, hidden.spikes + fired)
        return logits, SpikingLMUState(memory, None, None, after, leaky, past, *sent)

    def _weigh(self, shown: Tensor) -> Tensor:
        """``W_out s`` (..., K) of what hidden units send (..., units)."""
        weight = self.readout.weight
        with count_as(lambda: () if self.neuron.spiking else (Connection(shown, weight),)):
            return F.linear(shown, weight).to(shown)  # the leak keeps its precision under autocast

    def show_spikes(self, features: Tensor, mask: Tensor | None = None, state: Any = None) -> Tensor | None:
        """Those of the hidden units; None where they send rates."""
        if not self.neuron.spiking:
            return None
        spikes, _ = self._spike(*self.receive(features, state, mask))
        return self.neuron.count(spikes)

    def _spike(self, x: Tensor, state: SpikingLMUState, mask: Tensor | None) -> tuple[Tensor, SpikingLMUState]:
        """Spikes of the hidden units (B, T, units), and the state after them but for the leaky logits."""
        x, past = enter(x, state.past, mask, self.settings, self.training)
        drive, push, sent_input = enter_memory(self, x, state, mask)
        entered = state.input
        if self.input_ensembles is not None:
            drive, entered = self.input_ensembles(drive, state.input, mask)
        spiking = self.neuron.spiking
        if self.memory_ensembles is None:
            with by_decoded(spiking and self.input_ensembles is not None):
                memories, memory = self.memory(drive, state.memory, mask)
            coefficients = None
        else:
            memories, memory, coefficients = self._remember(drive, state, mask)
        with by_decoded(spiking and self.memory_ensembles is not None):
            current, sent_memory = leave_memory(self, memories, push, state, mask)
        current = current.to(self.readout.weight) * self.current_unit  # neurons keep their precision under autocast
        spikes, neurons = self.neuron(current, state.hidden.neurons, mask)
        count = state.hidden.spikes + self.neuron.count_all(spikes, (1, 2))
        hidden, sent = Activity(neurons, count), (sent_input, sent_memory)
        return spikes, SpikingLMUState(memory, entered, coefficients, hidden, state.leaky, past, *sent)

    def _remember(self, drive: Tensor, state: SpikingLMUState, mask: Tensor | None) -> tuple[Tensor, Tensor, Activity]:
        """What the spiking memory decodes to at all steps (B, T, memory_d, order), and the state after them."""
        assert self.memory_ensembles is not None
        s = self.settings
        with count_elsewhere():
            a, b = self.memory.matrices(state.memory)
        keep = math.exp(-self.neuron.dt / s.tau_memory)
        feedback = a - keep * torch.eye(s.order, dtype=a.dtype, device=a.device)  # (1 - a) A'
        memory, activity, decoded = state.memory, state.coefficients, []
        assert activity is not None
        for t, u in enumerate(drive.to(memory).unbind(1)):
            last = activity.decoded.view_as(memory)  # type: ignore[union-attr]
            new = self._advance(keep * memory, last, u, feedback, b)
            values, after = self.memory_ensembles(new.flatten(1).unsqueeze(1), activity, None)
            decoded.append(values.view_as(memory))
            real = None if mask is None else mask[:, t]
            memory = new if real is None else hold(new, memory, real)
            activity = after if real is None else hold(after, activity, real)
        return torch.stack(decoded, 1), memory, activity

    def _advance(self, kept: Tensor, decoded: Tensor, u: Tensor, feedback: Tensor, b: Tensor) -> Tensor:
        """One step of the spiking memory (B, memory_d, order); ``kept`` is what its synapse keeps of the last one."""
        count_updates(kept.numel())
        spiking = self.neuron.spiking
        with by_decoded(spiking), count_as(lambda: (Connection(decoded, feedback, name="A"),)):
            kept = kept + decoded @ feedback.T
        with by_decoded(spiking and self.input_ensembles is not None), count_as(lambda: (Connection(u, b, name="B"),)):
            return torch.addcmul(kept, u.unsqueeze(-1), b)
