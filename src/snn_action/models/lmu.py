"""Legendre Memory Unit (Voelker, Kajic, Eliasmith 2019), as keras-lmu defines it.

    u_t = W_u x_t + W_hu h_{t-1} + W_mu m_{t-1}                 (memory_d)
    m_t = A m_{t-1} + B u_t                                     (memory_d, order), each u its own memory
    h_t = tanh(W_m m_t + W_x x_t + W_h h_{t-1} + b)             (units)
    logits_t = W_out dropout(h_t) + c

The memory holds the last ``theta`` steps of u as coefficients of shifted Legendre polynomials: coefficient 0 is
their mean, the higher ones say how u moved. ``W_hu`` (``hidden_to_memory``), ``W_mu`` (``memory_to_memory``),
``W_x`` (``input_to_hidden``) and ``W_h`` (``hidden_recurrence``) may be absent.
"""

import math
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.models.base import ModelSettings, Scaling, TemporalModel, perturb
from snn_action.neurons.base import hold


class Settings(ModelSettings):
    """Legendre Memory Unit."""

    type: Literal["lmu"] = "lmu"
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    units: int = Field(128, ge=1, description="Hidden units; more remember and overfit more")
    order: int = Field(4, ge=1, description="Polynomials a memory; resolves about theta / order steps")
    theta: float = Field(28.0, gt=0, description="Steps that the memory holds; usually those of a clip")
    memory_d: int = Field(128, ge=1, description="Values that are remembered, learned projections of the input")
    input_to_hidden: bool = Field(False, description="The hidden units also see the input")
    hidden_to_memory: bool = Field(False, description="The hidden units also write into the memory")
    memory_to_memory: bool = Field(False, description="The memory also writes into itself, trained")
    hidden_recurrence: bool = Field(False, description="The hidden units also see themselves one step before")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped, one draw a clip")
    input_noise: float = Field(0.0, ge=0, description="Deviation of noise on the scaled input, one draw a clip")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of hidden units dropped before the logits")


class State(NamedTuple):
    """Memory (B, memory_d, order) and hidden units (B, units)."""

    memory: Tensor
    hidden: Tensor


def legendre_matrices(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """``A`` (order, order) and ``B`` (order,) of ``m_t = A m_{t-1} + B u_t``, float64, discretised by zero-order hold.

    ``theta dm/dt = A' m + B' u`` with ``A'_ij = (2i + 1) (-1 if i < j else (-1)^(i - j + 1))`` and
    ``B'_i = (2i + 1) (-1)^i``; ``[[A, B], [0, 1]] = exp([[A', B'], [0, 0]] / theta)``.
    """
    i = torch.arange(order, dtype=torch.float64)
    sign = torch.where(i[:, None] < i[None, :], -1.0, (-1.0) ** (i[:, None] - i[None, :] + 1))
    system = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    system[:order, :order] = (2 * i[:, None] + 1) * sign / theta
    system[:order, order] = (2 * i + 1) * (-1.0) ** i / theta
    discrete = torch.linalg.matrix_exp(system)
    return discrete[:order, :order], discrete[:order, order]


class LMU(TemporalModel):
    """See the module. Initialised as keras-lmu's: Glorot uniform into u and h, orthogonal recurrences, zero biases."""

    A: Tensor
    B: Tensor

    def __init__(self, settings: Settings, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes, settings.scaling)
        self.settings = s = settings
        size = s.memory_d * s.order
        self.encoder = nn.Linear(in_features, s.memory_d, bias=False)
        self.from_hidden = nn.Linear(s.units, s.memory_d, bias=False) if s.hidden_to_memory else None
        self.from_memory = nn.Linear(size, s.memory_d, bias=False) if s.memory_to_memory else None
        self.memory_kernel = nn.Linear(size, s.units)
        self.input_kernel = nn.Linear(in_features, s.units, bias=False) if s.input_to_hidden else None
        self.recurrent_kernel = nn.Linear(s.units, s.units, bias=False) if s.hidden_recurrence else None
        self.readout = nn.Linear(s.units, num_classes)
        a, b = legendre_matrices(s.order, s.theta)
        self.register_buffer("A", a.to(torch.get_default_dtype()))
        self.register_buffer("B", b.to(torch.get_default_dtype()))
        self._initialise()

    def _initialise(self) -> None:
        s = self.settings
        size, inputs = s.memory_d * s.order, self.in_features
        _glorot(self.encoder, inputs + (s.units if s.hidden_to_memory else 0), s.memory_d)
        if self.from_hidden is not None:
            _glorot(self.from_hidden, inputs + s.units, s.memory_d)
        if self.from_memory is not None:
            nn.init.orthogonal_(self.from_memory.weight)
        seen = size + (inputs if s.input_to_hidden else 0)
        _glorot(self.memory_kernel, seen, s.units)
        nn.init.zeros_(self.memory_kernel.bias)
        if self.input_kernel is not None:
            _glorot(self.input_kernel, seen, s.units)
        if self.recurrent_kernel is not None:
            nn.init.orthogonal_(self.recurrent_kernel.weight)
        _glorot(self.readout, s.units, self.num_classes)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        """An empty memory and zero hidden units."""
        s = self.settings
        memory = torch.zeros(batch, s.memory_d, s.order, device=device, dtype=dtype)
        return State(memory, torch.zeros(batch, s.units, device=device, dtype=dtype))

    def forward_steps(self, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
        """See the module; what depends on the input alone is one product over all steps."""
        hidden, state = self.hidden_steps(x, state, mask)
        return self.readout(F.dropout(hidden, self.settings.dropout, self.training)), state

    def step_once(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step is a sequence of one."""
        logits, state = self.forward_steps(x.unsqueeze(1), state, None)
        return logits.squeeze(1), state

    def hidden_steps(self, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
        """Hidden units (B, T, units) of standardised input, and the state after the last real step."""
        if self.training:
            x = perturb(x, self.settings.input_dropout, self.settings.input_noise)
        drive = self.encoder(x)
        push = None if self.input_kernel is None else self.input_kernel(x)
        if self.from_hidden is None and self.recurrent_kernel is None:
            return self._parallel_hidden(drive, push, state, mask)
        hidden = []
        for t, u in enumerate(drive.unbind(1)):
            memory = self._remember(u, state)
            new = self.memory_kernel(memory.flatten(1))
            if push is not None:
                new = new + push[:, t]
            if self.recurrent_kernel is not None:
                new = new + self.recurrent_kernel(state.hidden)
            after = State(memory, new.tanh())
            hidden.append(after.hidden)
            state = after if mask is None else hold(after, state, mask[:, t])
        return torch.stack(hidden, 1), state

    def _parallel_hidden(
        self, drive: Tensor, push: Tensor | None, state: State, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        """Only the memory needs a loop where the hidden units feed back nothing."""
        memories = []
        for t, u in enumerate(drive.unbind(1)):
            memory = self._remember(u, state)
            memories.append(memory)
            after = State(memory, state.hidden)
            state = after if mask is None else hold(after, state, mask[:, t])
        hidden = self.memory_kernel(torch.stack(memories, 1).flatten(2))
        hidden = (hidden if push is None else hidden + push).tanh()
        last = hidden[:, -1] if mask is None else hidden[torch.arange(len(hidden)), mask.sum(1) - 1]
        return hidden, State(state.memory, last)

    def _remember(self, u: Tensor, state: State) -> Tensor:
        if self.from_hidden is not None:
            u = u + self.from_hidden(state.hidden)
        if self.from_memory is not None:
            u = u + self.from_memory(state.memory.flatten(1))
        return torch.addcmul(state.memory @ self.A.T, u.unsqueeze(-1), self.B)


def _glorot(layer: nn.Linear, fan_in: int, fan_out: int) -> None:
    """Glorot's uniform limit for a layer that is a part of a kernel (fan_in, fan_out)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(layer.weight, -limit, limit)


def build(settings: Settings, in_features: int, num_classes: int) -> LMU:
    """The model that ``settings`` describe."""
    return LMU(settings, in_features, num_classes)
