"""A layer of ensembles, each for one value, by the fused loop where it can."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.snn.decoders import FUNCTIONS
from snn_action.snn.ensembles import check_currents, draw_parts, plan_fused, run_in_chunks, scale
from snn_action.snn.fused import ensemble_array as fused
from snn_action.snn.masks import check_mask
from snn_action.snn.neurons.base import Neuron, check_finite, check_state
from snn_action.snn.neurons.spiking_rectified_linear import SpikingRectifiedLinear
from snn_action.snn.settings import FunctionName


class EnsembleArray(nn.Module):
    """E ensembles of N neurons, each for one value or vector: values to what the spikes stand for (Nengo).

        J = gain (e v) + bias,  spikes = neuron(J),  decoded = sum over neurons of decoder spikes

    At the start ``decoded`` is about ``function(v)`` for values in [-1, 1], or in the unit ball. Gains, biases and
    decoders learn; encoders ``e`` stay. Where it can, a fused loop over time runs it (``fused.ensemble_array``).

    Args:
        n_ensembles: E.
        n_neurons: N.
        dimensions: Numbers of a value, D.
        neuron: Of all ensembles; None: ``SpikingRectifiedLinear()``.
        max_rates: Range of rates at value 1, in spikes a second.
        intercepts: Range of values at which neurons begin to spike.
        function: ``identity``, ``square``, ``absolute``, ``product``, or any function of values (..., E), with D
            dimensions of (..., E, D): see ``solve_decoders``.
        seed: Of what is drawn; None: PyTorch's global generator.

    Raises:
        ConfigError: the neuron cannot reach a rate.
        ValueError: a size is below 1, or the function is unknown.
    """

    encoders: Tensor

    def __init__(
        self,
        n_ensembles: int,
        n_neurons: int = 50,
        *,
        dimensions: int = 1,
        neuron: Neuron | None = None,
        max_rates: tuple[float, float] = (200.0, 400.0),
        intercepts: tuple[float, float] = (-1.0, 0.9),
        function: FunctionName | Callable[[Tensor], Tensor] = "identity",
        seed: int | None = None,
    ) -> None:
        if min(n_ensembles, n_neurons, dimensions) < 1:
            raise ValueError(f"sizes must be 1 or more, not {n_ensembles}, {n_neurons}, {dimensions}")
        if isinstance(function, str) and function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)} or a callable, not {function!r}")
        super().__init__()
        self.n_ensembles, self.n_neurons, self.dimensions = n_ensembles, n_neurons, dimensions
        self.neuron = SpikingRectifiedLinear() if neuron is None else neuron
        wanted = FUNCTIONS[function] if isinstance(function, str) else function
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            parts = draw_parts(self.neuron, n_ensembles, n_neurons, dimensions, max_rates, intercepts, wanted)
        self.current_unit, self.rate_unit = parts.current, parts.rate
        self.register_buffer("encoders", parts.encoders)
        self.gain, self.bias = nn.Parameter(parts.gain), nn.Parameter(parts.bias)
        self.decoders = nn.Parameter(parts.decoders)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """The neurons' state (B, E, N) before a clip's first step."""
        return self.neuron.initial_state(batch, (self.n_ensembles, self.n_neurons), device, dtype)

    def forward(self, values: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        """Decoded values (B, T, E) or (B, T, E, F), and the neurons' state after each clip's last real step.

        Args:
            values: (B, T, E), with D dimensions (B, T, E, D).
            state: Of the neurons, before the first step; None: ``initial_state``.
            mask: (B, T), true on real steps, which come before the others.

        Raises:
            ValueError: a wrong shape, a value that is not finite, or a state that does not fit.
        """
        wanted = (self.n_ensembles,) if self.dimensions == 1 else (self.n_ensembles, self.dimensions)
        if values.ndim < 3 or values.shape[2:] != wanted or values.shape[1] < 1:
            raise ValueError(f"values must be (batch, at least one step, {wanted}), not {tuple(values.shape)}")
        mask = None if mask is None else check_mask(mask, *values.shape[:2])
        device, dtype = values.device, values.dtype
        if state is None:
            state = self.initial_state(len(values), device, dtype)
        elif not torch.compiler.is_compiling():
            check_state(state, self.initial_state(len(values), torch.device("meta"), dtype), device)
        encoders, bias = scale(self.gain * self.current_unit, self.encoders), self.bias * self.current_unit
        plan = plan_fused(self.neuron, values, state, self.dimensions, self.training)
        if plan is None:
            check_finite(values, "value of ensemble")
            decoders = self.decoders / self.rate_unit
            decoded, _, after = run_in_chunks(self.neuron, mask, state, values, encoders, bias, decoders)
            return decoded, after
        check_currents(values, encoders, bias)
        decoders = self.decoders * (self.neuron.amplitude / (self.rate_unit * self.neuron.dt))
        traced = self.neuron.write_step("count"), None if plan.rates is None else self.neuron.write_step("rate_count")
        parameters = tuple(self.neuron.parameters())
        weights = values, encoders, bias, decoders, tuple(state)
        result = fused.run(*weights, plan.equations, plan.rates, parameters, mask, plan.mode, steps=traced)
        return result.decoded, state if plan.mode == "rate" else type(state)(*result.states)

    def step(self, values: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """``forward`` on one time step: decoded values (B, E) of ``values`` (B, E), and the state after it."""
        decoded, state = self(values.unsqueeze(1), state)
        return decoded.squeeze(1), state
