"""The contract of neurons: currents ``(B, T, N)`` to spikes ``(B, T, N)``, each ``amplitude / dt`` high (Nengo)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from inspect import Parameter
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.core.settings import describe_item, make_settings, make_signature
from snn_action.snn.counting import count_elsewhere
from snn_action.snn.fused import dispatch, neurons
from snn_action.snn.fused.ir import Equations, Step
from snn_action.snn.masks import hold, is_prefix, silence
from snn_action.snn.neurons.equations import Unit, find_equations, loosen
from snn_action.snn.neurons.surrogate import pass_gradient
from snn_action.snn.settings import Gradient, NeuronSettings

OutputUnit = Literal["rate", "count"]
COMMON = (
    Parameter("gradient", Parameter.KEYWORD_ONLY, default=None, annotation=Gradient | None),
    Parameter("unit", Parameter.KEYWORD_ONLY, default="rate", annotation=OutputUnit),
)
COMMON_TEXT = """\
    gradient: Gradient mode; None: ``spike_aware``, or the first that the neuron has.
    unit: Of the output: ``rate``, a spike is ``amplitude / dt`` high, or ``count``, it is 1.
"""


class Neuron(nn.Module, ABC):
    """Base of all neurons.

    A neuron writes ``dynamics``, ``initial_state``, ``rate`` and ``gain_bias``; how gradients flow is decided here:

    - ``rate``: rates in training (state stays as it is), spikes in evaluation;
    - ``spike_aware``: spikes forward, the derivative of ``rate`` backward, none through the state;
    - ``surrogate``: spikes forward, backward through time as ``dynamics`` defines it.

    A rate neuron (``spiking`` false) has the one mode ``rate``, and its output is that of ``dynamics``.

    State is a NamedTuple of tensors with the batch first. Neurons may lie along several axes, ``(B, T, E, N)``.

    Args:
        settings: What describes the neuron, in the place of keyword arguments, which are its keys.
        gradient: The gradient mode; None: ``spike_aware``, or the first that the neuron has.
        unit: Of the output: ``rate``, a spike is ``amplitude / dt`` high, or ``count``, it is 1.
        options: Keys of ``Settings``.

    Raises:
        ConfigError: the neuron has no such gradient mode, or an argument is unknown or out of range.
    """

    gradients: ClassVar[tuple[Gradient, ...]] = ("rate", "spike_aware", "surrogate")
    spiking: ClassVar[bool] = True
    Settings: ClassVar[type[NeuronSettings]]
    settings: Any

    def __init_subclass__(cls) -> None:
        """Let ``help`` show the keyword arguments: those of ``Settings``, and ``gradient``."""
        super().__init_subclass__()
        if "Settings" in vars(cls):
            keys = make_signature(cls.Settings)
            cls.__signature__ = keys.replace(parameters=[*keys.parameters.values(), *COMMON])  # type: ignore[attr-defined]
            cls.__doc__ = describe_item(cls, cls.Settings) + COMMON_TEXT

    def __init__(
        self,
        *,
        settings: NeuronSettings | None = None,
        gradient: Gradient | None = None,
        unit: OutputUnit = "rate",
        **options: Any,
    ) -> None:
        settings = make_settings(type(self), self.Settings, settings, options)
        if gradient is None:
            gradient = "spike_aware" if "spike_aware" in self.gradients else self.gradients[0]
        if gradient not in self.gradients:
            known = ", ".join(self.gradients)
            raise ConfigError(f"{settings.type} has no gradient mode {gradient!r}; it has {known}")
        if unit not in get_args(OutputUnit):
            raise ConfigError(f"{type(self).__name__}: unit must be one of {get_args(OutputUnit)}, not {unit!r}")
        super().__init__()
        self.settings = settings
        self.unit = unit
        self.gradient = gradient
        self.dt = settings.dt
        self.amplitude: float = getattr(settings, "amplitude", 1.0)  # Izhikevich's is fixed, as Nengo has it
        self.make_parts()

    def make_parts(self) -> None:
        """Parameters and parts, from ``settings``; most neurons have none."""

    def forward(self, current: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        """Spikes ``(B, T, N)`` of ``current`` (B, T, N), and the state after the last step where ``mask`` is true.

        Args:
            current: Input current (B, T, N), in the units of ``gain_bias``.
            state: State before the first step; None: ``initial_state``.
            mask: (B, T), true on real steps; the others leave the state as it is and give no output.

        Raises:
            ValueError: a wrong shape or type, or a current or state that is not finite (named with neuron, step, clip).
        """
        if not current.is_floating_point():
            raise ValueError(f"current must be of a floating-point type, not {current.dtype}")
        if current.ndim < 3 or current.shape[1] < 1:
            raise ValueError(f"current must be (batch, at least one step, neurons), not {tuple(current.shape)}")
        if mask is not None and mask.shape != current.shape[:2]:
            raise ValueError(f"mask must have shape {tuple(current.shape[:2])}, not {tuple(mask.shape)}")
        mask = None if mask is None else mask.bool()
        shape = current.shape[0], current.shape[2:]
        if state is None:
            state = self.initial_state(*shape, current.device, current.dtype)
        elif not torch.compiler.is_compiling():
            check_state(state, _lay_out(type(self), self.settings, *shape, current.dtype), current.device)
        check_finite(current)
        with count_elsewhere():
            spikes, state = self._send(current, state, mask)
        if self.unit == "count":
            spikes = spikes / (self.amplitude / self.dt)  # the division undoes the product to the last bit
        return spikes, state

    def _send(self, current: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """``forward`` on checked input, by gradient mode."""
        if self.gradient == "rate" and self.training and self.spiking:
            return silence(self.rate(current), mask), state
        if self.gradient == "surrogate" or not self.spiking or not torch.is_grad_enabled():
            return self._run(current, state, mask)
        with torch.no_grad():
            spikes, state = self._run(current, state, mask)
        return pass_gradient(spikes, silence(self.rate(current), mask)), state

    def step(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """``forward`` on one time step: spikes (B, N) of ``current`` (B, N), and the state after it."""
        spikes, state = self(current.unsqueeze(1), state)
        return spikes.squeeze(1), state

    @property
    def signed(self) -> bool:
        """Whether spikes may be negative."""
        return False

    def count(self, spikes: Tensor) -> Tensor:
        """The output ``spikes`` in spikes a step: ``spikes dt / amplitude``; negative ones stay so."""
        return spikes * (self.dt / self.amplitude)

    def count_all(self, spikes: Tensor, dim: tuple[int, ...]) -> Tensor:
        """How many spikes of either sign stand for ``spikes``: ``|spikes| dt / amplitude``, summed over ``dim``."""
        return self.count((spikes.abs() if self.signed else spikes).sum(dim))

    def equations(self, unit: Unit) -> Equations | None:
        """What fused kernels compute in the place of ``dynamics`` (or of ``rate``); None where they cannot.

        It is that of the neuron as it is now: attributes that have changed since the last call count. A compiler
        (``torch.compile``, ``torch.export``) gets PyTorch's own operations, from which it makes kernels itself.
        """
        return None if torch.compiler.is_compiling() else find_equations(self, unit)

    def write_step(self, unit: Unit) -> Step:
        """What ``equations`` are traced from: one step as a function of tensors, parameters among them."""
        return lambda *values: loosen(self, unit).step(*values)

    def _run(self, current: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        equations = self.equations("output") if current.dtype == torch.float32 else None
        if equations is not None and not dispatch.is_available(current):
            equations = None
        lengths = None if mask is None else mask.sum(1)
        if equations is not None and (lengths is None or is_prefix(mask, lengths)):
            own, step = tuple(self.parameters()), self.write_step("output")
            output, after = neurons.run(current, tuple(state), equations, own, lengths, step)
            return output, type(state)(*after)
        outputs = []
        for t, now in enumerate(current.unbind(1)):
            output, new = self.dynamics(now, state)
            state = new if mask is None else hold(new, state, mask[:, t])
            outputs.append(output)
        return silence(torch.stack(outputs, 1), mask), state

    @abstractmethod
    def dynamics(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the equations, without regard to the gradient mode: spikes (B, N) and the state after it."""

    @abstractmethod
    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Any:
        """The state before a clip's first step, of neurons that lie along the axes ``shape``."""

    @abstractmethod
    def rate(self, current: Tensor) -> Tensor:
        """Output ``(...)`` averaged over time at a constant ``current`` (...): amplitude times spikes a second."""

    def tuning(self, current: Tensor) -> Tensor:
        """What decoders are solved from: ``rate``, or a simulated curve where that has no closed form."""
        return self.rate(current)

    @abstractmethod
    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and bias with which ``gain x + bias`` starts spikes at ``intercepts`` and gives ``max_rates`` at x = 1.

        Raises:
            ConfigError: a rate or an intercept is out of range.
        """


@lru_cache(maxsize=256)
def _lay_out(cls: type[Neuron], settings: NeuronSettings, batch: int, shape: Sequence[int], dtype: torch.dtype) -> Any:
    """A state that fits, without its numbers: what a stream's state is held to at every step."""
    return cls(settings=settings, gradient=cls.gradients[0]).initial_state(batch, shape, torch.device("meta"), dtype)


def fill(number: float, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """The same number in all neurons (B, ...); all clips lie on the memory of one."""
    return torch.full(tuple(shape), number, device=device, dtype=dtype).expand(batch, *shape)


def check_state(state: Any, wanted: Any, device: torch.device) -> None:
    """Check that a state has the fields of ``wanted``, a state that fits, and finite tensors like its on ``device``.

    Raises:
        ValueError: one has not; its name is given.
    """
    if not isinstance(state, type(wanted)):
        names = ", ".join(wanted._fields) or "none"
        raise ValueError(f"state must be one that was returned (fields: {names}), not a {type(state).__name__}")
    for name, tensor, like in zip(wanted._fields, state, wanted, strict=True):
        if not isinstance(like, Tensor):
            check_state(tensor, like, device)
        elif not isinstance(tensor, Tensor):
            raise ValueError(f"state.{name} must be a tensor, not a {type(tensor).__name__}")
        elif tensor.shape != like.shape:
            raise ValueError(f"state.{name} must have shape {tuple(like.shape)}, not {tuple(tensor.shape)}")
        elif (tensor.dtype, tensor.device) != (like.dtype, device):
            raise ValueError(f"state.{name} must be {like.dtype} on {device}, not {tensor.dtype} on {tensor.device}")
        elif tensor.is_floating_point():
            check_finite(tensor.unsqueeze(1), f"state.{name} of neuron")


def check_rates(max_rates: Tensor, intercepts: Tensor) -> None:
    """Check what every ``gain_bias`` needs.

    Raises:
        ConfigError: these are no tensors of floating-point numbers, their shapes do not fit, a maximal rate is not
            positive and finite, or an intercept is not in [-1, 1).
    """
    for name, values in (("max_rates", max_rates), ("intercepts", intercepts)):
        if not isinstance(values, Tensor) or not values.is_floating_point():
            found = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise ConfigError(f"{name} must be a tensor of floating-point numbers, not {found}")
    try:
        torch.broadcast_shapes(max_rates.shape, intercepts.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        shapes = f"{tuple(max_rates.shape)} and {tuple(intercepts.shape)}"
        raise ConfigError(f"max_rates and intercepts must have one shape, not {shapes}") from None
    if not bool((max_rates.isfinite() & (max_rates > 0)).all()):
        raise ConfigError("max_rates must be positive and finite")
    if not bool(((intercepts >= -1) & (intercepts < 1)).all()):
        raise ConfigError("intercepts must be in [-1, 1)")


def check_finite(current: Tensor, what: str = "current of neuron", first: int = 0) -> None:
    """Check a current (B, T, ...), or what else ``what`` names, for NaN and infinity; neurons count from ``first``.

    A neuron may swallow them and be silent for ever. On the CPU always; on a GPU, where it would wait for all work so
    far, in PyTorch's debug mode (``torch.autograd.set_detect_anomaly``). Never in compiled and exported programs, in
    which nothing may depend on numbers.

    Raises:
        ValueError: names the first such neuron, step and clip.
    """
    if torch.compiler.is_compiling() or (current.device.type != "cpu" and not torch.is_anomaly_enabled()):
        return
    current = current.detach()
    if bool(current.sum().isfinite()) or bool(current.isfinite().all()):
        return
    clip, step, *neuron = (~current.isfinite()).nonzero()[0].tolist()
    value = current[clip, step, *neuron].item()
    neuron[0] += first
    place = neuron[0] if len(neuron) == 1 else tuple(neuron)
    raise ValueError(f"the {what} {place} is {value:g} at step {step} of clip {clip}")
