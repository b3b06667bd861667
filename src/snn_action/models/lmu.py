"""Legendre Memory Unit (Voelker, Kajic, Eliasmith 2019), as keras-lmu defines it.

    u_t = W_u x_t + W_hu h_{t-1} + W_mu m_{t-1}                 (memory_d)
    m_t = A m_{t-1} + B u_t                                     (memory_d, order), each u its own memory: ``legendre``
    h_t = tanh(W_m m_t + W_x x_t + W_h h_{t-1} + b)             (units), or the positive part instead of tanh
    logits_t = W_out dropout(h_t) + c

``W_hu`` (``hidden_to_memory``), ``W_mu`` (``memory_to_memory``), ``W_x`` (``input_to_hidden``) and ``W_h``
(``hidden_recurrence``) may be absent. Without the first two nothing feeds back into the memory, and with neither those
nor ``W_h`` there is no loop over time at all: the parallel LMU (Chilkuri and Eliasmith 2021), the memory one
convolution, the rest matrix products. Streaming is one small step either way, and gives the same.
"""

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.core.errors import ConfigError
from snn_action.models import stream_step
from snn_action.models.base import InputStandardizer, TemporalModel, perturb
from snn_action.models.differences import Past, start_past, subtract_past
from snn_action.models.elimination import eliminate
from snn_action.models.lmu_loop import Weights, run_lmu
from snn_action.models.reading import read, read_once, start_receivers
from snn_action.models.readout import average_clips, solve_readout
from snn_action.models.selection import project
from snn_action.models.settings import Encoders, Input, LMUSettings, ReaderSettings, Readout, Scaling
from snn_action.models.transmission import Received
from snn_action.snn.legendre import LegendreMemory
from snn_action.snn.masks import take_last
from snn_action.snn.settings import Discretizer, Trained


class LMUState(NamedTuple):
    """Memory (B, memory_d, order), hidden units (B, units), and past inputs where ``differences`` are taken.

    And what was received of input and memory, where they are sent as changes.
    """

    memory: Tensor
    hidden: Tensor
    past: Past | None
    sent_input: Received | None = None
    sent_memory: Received | None = None


class LMU(TemporalModel):
    """Units that read a Legendre memory: ``h_t = tanh(W_m m_t + W_x x_t + W_h h_{t-1} + b)``.

    Initialized as keras-lmu's: Glorot uniform into u and h, orthogonal recurrences, zero biases.
    """

    Settings = LMUSettings
    settings: LMUSettings

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
            normalize: bool = False,
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
            activation: Literal["tanh", "relu"] = "tanh",
            hidden_to_memory: bool = False,
            memory_to_memory: bool = False,
            hidden_recurrence: bool = False,
            settings: LMUSettings | None = None,
        ) -> None: ...

    def make_parts(self) -> None:
        """See the class."""
        s = self.settings
        self.standardizer = InputStandardizer(self.in_features, s.scaling, s.normalize and not s.differences)
        size = s.memory_d * s.order
        self.encoder = nn.Linear(self.in_features, s.memory_d, bias=False)
        self.memory = LegendreMemory(s.order, s.theta, s.discretizer, s.trained)
        self.from_hidden = nn.Linear(s.units, s.memory_d, bias=False) if s.hidden_to_memory else None
        self.from_memory = nn.Linear(size, s.memory_d, bias=False) if s.memory_to_memory else None
        self.memory_kernel = nn.Linear(size, s.units)
        self.input_kernel = nn.Linear(self.in_features, s.units, bias=False) if s.input_to_hidden else None
        self.recurrent_kernel = nn.Linear(s.units, s.units, bias=False) if s.hidden_recurrence else None
        self.readout = nn.Linear(s.units, self.num_classes)
        self._initialize()

    def _initialize(self) -> None:
        s = self.settings
        size, inputs = s.memory_d * s.order, self.in_features
        glorot(self.encoder, inputs + (s.units if s.hidden_to_memory else 0), s.memory_d)
        if self.from_hidden is not None:
            glorot(self.from_hidden, inputs + s.units, s.memory_d)
        if self.from_memory is not None:
            nn.init.orthogonal_(self.from_memory.weight)
        seen = size + (inputs if s.input_to_hidden else 0)
        glorot(self.memory_kernel, seen, s.units)
        nn.init.zeros_(self.memory_kernel.bias)
        if self.input_kernel is not None:
            glorot(self.input_kernel, seen, s.units)
        if self.recurrent_kernel is not None:
            nn.init.orthogonal_(self.recurrent_kernel.weight)
        if s.encoders != "random":
            prefer_coefficients(self.encoder, self.memory_kernel, s.encoders)
        glorot(self.readout, s.units, self.num_classes)
        nn.init.zeros_(self.readout.bias)

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Also select inputs and solve the output weights where settings say so: see ``elimination``, ``readout``."""
        super().prepare(features, mask, labels)
        if self.settings.encoders == "selected":
            select_inputs(self, features, mask, labels)
        regression = self.settings.readout, self.settings.readout_strength, self.settings.opposed
        solve_readout(self, self.readout, self._represent, features, mask, labels, *regression)

    def _represent(self, x: Tensor, state: LMUState, mask: Tensor | None) -> Tensor:
        return self.hidden_steps(x, state, mask)[0]

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> LMUState:
        """An empty memory and zero hidden units."""
        s = self.settings
        memory = torch.zeros(batch, s.memory_d, s.order, device=device, dtype=dtype)
        past = start_past(batch, s.differences, self.in_features, device, dtype) if s.differences else None
        sent = start_receivers(self, s, batch, device, dtype)
        return LMUState(memory, torch.zeros(batch, s.units, device=device, dtype=dtype), past, *sent)

    def forward_steps(self, x: Tensor, state: LMUState, mask: Tensor | None) -> tuple[Tensor, LMUState]:
        """Logits of all steps, and the state after them; what depends on the input alone is one product."""
        hidden, state = self.hidden_steps(x, state, mask)
        shown = F.dropout(hidden, self.settings.dropout, self.training)
        if self.feeds_back:  # the loop leaves them step after step: as they lie they need not be copied
            return self.readout(shown.transpose(0, 1)).transpose(0, 1), state
        return self.readout(shown), state

    def forward_last(self, features: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        """Logits (B, K) of each clip's last real step alone, and the state after it; ``forward`` gives the same.

        In the parallel LMU the whole memory is then one matrix product.
        """
        x, state, mask, seen = self.take_in(features, state, mask)
        if self.feeds_back or state.sent_input is not None or state.sent_memory is not None:
            _, state = self.hidden_steps(x, state, mask)
        else:
            x, past = enter(x, state.past, mask, self.settings, self.training)
            memory = self.memory.last(project(x, self.encoder), state.memory, mask)
            last = take_last(x, mask)
            hidden = project(memory.flatten(1), self.memory_kernel)
            hidden = self._activate(hidden if self.input_kernel is None else hidden + self.input_kernel(last))
            state = LMUState(memory, hidden, past)
        logits = self.readout(F.dropout(state.hidden, self.settings.dropout, self.training))
        return logits, self.put_together(seen, state)

    def step_once(self, x: Tensor, state: LMUState) -> tuple[Tensor, LMUState]:
        """One step: the memory is one small product, without the convolution."""
        if self.feeds_back:
            return super().step_once(x, state)
        entered, past = enter(x.unsqueeze(1), state.past, None, self.settings, self.training)
        x = entered.squeeze(1)
        plan = stream_step.find_plan(self, x)
        memory, current, *sent = read_once(self, x, state) if plan is None else stream_step.read_in(plan, x, state)
        hidden = self._activate(current)
        logits = self.readout(F.dropout(hidden, self.settings.dropout, self.training))
        return logits, LMUState(memory, hidden, past, *sent)

    def _activate(self, x: Tensor) -> Tensor:
        return x.tanh() if self.settings.activation == "tanh" else x.relu()

    @property
    def feeds_back(self) -> bool:
        """Whether hidden units or memory are seen by later steps in another way than the memory's own."""
        return not (self.from_hidden is None and self.from_memory is None and self.recurrent_kernel is None)

    def hidden_steps(self, x: Tensor, state: LMUState, mask: Tensor | None) -> tuple[Tensor, LMUState]:
        """Hidden units (B, T, units) of standardized input, and the state after the last real step."""
        x, past = enter(x, state.past, mask, self.settings, self.training)
        if not self.feeds_back:
            memory, current, *sent = read(self, x, state, mask)
            hidden = self._activate(current)
            return hidden, LMUState(memory, take_last(hidden, mask), past, *sent)
        bias = self.memory_kernel.bias
        x = x.transpose(0, 1).contiguous()  # as the loop goes, so that neither it nor its gradients are copied
        drive = self.encoder(x)
        if self.input_kernel is None:
            push = bias.expand(*x.shape[:2], -1)
        else:
            push = F.linear(x, self.input_kernel.weight, bias)
        weights = Weights(
            _weight(self.from_hidden),
            _weight(self.from_memory),
            self.memory_kernel.weight,
            _weight(self.recurrent_kernel),
            *self.memory.matrices(state.memory),
        )
        inputs = drive.transpose(0, 1), push.transpose(0, 1)
        hidden, memory, last = run_lmu(*inputs, weights, state.memory, state.hidden, mask)
        return hidden, LMUState(memory, last, past)


def _weight(layer: nn.Linear | None) -> Tensor | None:
    return None if layer is None else layer.weight


def glorot(layer: nn.Linear, fan_in: int, fan_out: int) -> None:
    """Glorot's uniform limit for a layer that is a part of a kernel (fan_in, fan_out)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(layer.weight, -limit, limit)


def enter(
    x: Tensor, past: Past | None, mask: Tensor | None, settings: ReaderSettings, training: bool
) -> tuple[Tensor, Past | None]:
    """What the memory is given of standardized input: differences where asked for, disturbed in training."""
    if past is not None:
        x, past = subtract_past(x, past, mask, settings.normalize)
    return perturb(x, settings.input_dropout, settings.input_noise) if training else x, past


@torch.no_grad()
def prefer_coefficients(encoder: nn.Linear, memory_kernel: nn.Linear, encoders: Encoders = "on_off") -> None:
    """Memories of features, and units in pairs, one for and one against one coefficient of one memory.

    As ON and OFF cells of a retina: what is above the mean and what is below it become units of their own, so that a
    linear readout of their mean over time also sees how much a coefficient varies. Memories are of the features
    themselves where there are as many, else of orthonormal projections of them. Where they are ``selected`` they are
    of the first features, until ``select_inputs`` chooses.

    Raises:
        ConfigError: more features are to be selected than there are.
    """
    if encoders == "selected" and encoder.out_features > encoder.in_features:
        raise ConfigError(
            f"memory_d: {encoder.out_features} values cannot be selected of {encoder.in_features} (encoders 'selected')"
        )
    if encoders == "selected" or encoder.in_features == encoder.out_features:
        nn.init.eye_(encoder.weight)
    else:
        nn.init.orthogonal_(encoder.weight)
    unit = torch.arange(memory_kernel.out_features)
    memory_kernel.weight.zero_()
    memory_kernel.weight[unit, unit // 2 % memory_kernel.in_features] = 1.0 - 2.0 * (unit % 2)


@torch.no_grad()
def select_inputs(model: Any, features: Tensor, mask: Tensor, labels: Tensor) -> None:
    """Let the memories be of the inputs that a readout of training clips needs most: see ``elimination``.

    What is read of an input are its coefficients, for and against, as ``prefer_coefficients`` has them.
    """
    s: ReaderSettings = model.settings

    def represent(x: Tensor, state: Any, real: Tensor | None) -> Tensor:
        entered, _ = enter(x, state.past, real, s, training=False)
        coefficients = model.memory(entered, None, real)[0]
        return torch.cat([coefficients.relu(), (-coefficients).relu()], -1).flatten(2)

    means = average_clips(model, represent, features, mask)
    kept = eliminate(means.view(len(means), model.in_features, -1), labels, s.memory_d, model.num_classes, s)
    model.encoder.weight.zero_()
    model.encoder.weight[torch.arange(s.memory_d), kept] = 1.0
