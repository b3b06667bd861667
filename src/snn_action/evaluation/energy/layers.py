"""What one layer of a network does for one clip: operations, values that move, weights and states that it holds."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from snn_action.core.errors import printable

Kind = Literal["synapses", "neurons", "states"]
_TEXTS = ("name", "part", "kind")
_FLAGS = ("by_spikes", "by_changes", "by_decoded")
_MEANS = (  # counts, which differ from clip to clip
    *("steps", "values", "active", "dense_macs", "effective_macs", "effective_acs"),
    *("neuron_updates", "state_updates", "spikes"),
)
_WHOLE = ("parameters", "nonzero", "biases", "weight_bits", "fan_in", "outputs", "states")
# what the former counts is among the latter
_PARTS = (("nonzero", "parameters"), ("biases", "nonzero"), ("active", "values"))
_WIDEST = 32  # bits of a weight
_MOST = 1e30  # of any count: far more than there is, and products of counts are still numbers


@dataclass(frozen=True)
class Layer:
    """One set of synapses, one population of spiking neurons, or values that are carried on without a synapse.

    Counts are those of one clip, and means over clips may be fractions.

    Attributes:
        name: Of its weights in the model, or of its population.
        part: "head" or "backbone".
        kind: What the layer is.
        steps: How often it works in the clip: its time steps, or the images of the clip.
        parameters: Weights and biases, zeros among them; the scales and shifts of a normalization are none.
        nonzero: Those that are not zero.
        biases: Those of them that no input meets.
        weight_bits: That a weight has, as the model was trained with so few; 0: those of the estimate.
        fan_in: Weights of one target.
        fan_out: Weights that a single input meets, on average over inputs.
        outputs: Values, or neurons, that one step makes.
        values: Inputs that arrive over the clip: numbers, or places where a spike may come.
        active: Those that are not zero; spikes where ``by_spikes``, each counted, also several of one neuron.
        by_spikes: Whether inputs are spikes.
        by_changes: Whether inputs, and what neurons send, are events that carry a number (sigma-delta coding).
        by_decoded: Whether inputs are numbers that spikes were decoded to, zero where no spike came.
        dense_macs: Of ``Operations``.
        effective_macs: Of ``Operations``.
        effective_acs: Of ``Operations``.
        neuron_updates: Of ``Operations``; of kind "neurons" alone.
        state_updates: Of ``Operations``; of kind "states" alone.
        states: Numbers that are kept from step to step (a membrane, a filter, a memory).
        spikes: That the layer's neurons send.
    """

    name: str
    part: str
    kind: Kind
    steps: float
    parameters: int = 0
    nonzero: int = 0
    biases: int = 0
    weight_bits: int = 0
    fan_in: int = 0
    fan_out: float = 0.0
    outputs: int = 0
    values: float = 0.0
    active: float = 0.0
    by_spikes: bool = False
    by_changes: bool = False
    by_decoded: bool = False
    dense_macs: float = 0.0
    effective_macs: float = 0.0
    effective_acs: float = 0.0
    neuron_updates: float = 0.0
    state_updates: float = 0.0
    states: int = 0
    spikes: float = 0.0

    def find_weight_bits(self, bits: int) -> int:
        """Bits of a weight in an estimate with numbers of ``bits``."""
        return min(self.weight_bits, bits) if self.weight_bits else bits

    @property
    def stored_fan_out(self) -> float:
        """``fan_out``, of the weights that are not zero."""
        return self.fan_out * self.nonzero / self.parameters if self.parameters else 0.0

    @property
    def stored_fan_in(self) -> float:
        """``fan_in``, of the weights that are not zero; on average over targets."""
        return self.fan_in * self.nonzero / self.parameters if self.parameters else 0.0

    @property
    def most_fan_in(self) -> int:
        """The most weights, not zero, that a target can have."""
        return min(self.fan_in, self.nonzero)

    @property
    def most_fan_out(self) -> float:
        """The most targets that an input can have: as all have, where no weight is zero and each serves one place."""
        if self.is_shared:
            return float(self.outputs if self.nonzero else 0)
        return self.fan_out if self.nonzero == self.parameters else float(min(self.outputs, self.nonzero))

    @property
    def is_shared(self) -> bool:
        """Whether a weight serves several places of one step."""
        return self.dense_macs > 1.001 * self.parameters * self.steps

    @property
    def activation_sparsity(self) -> float | None:
        """Share of inputs that are zero; None without inputs."""
        return None if not self.values or self.by_spikes else 1 - self.active / self.values

    @property
    def connection_sparsity(self) -> float | None:
        """Share of weights that are zero; None without weights."""
        return 1 - self.nonzero / self.parameters if self.parameters else None

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Layer":
        """From ``to_dict``; keys of a later version are left out.

        Raises:
            TypeError: a value is missing or of another type.
            ValueError: a number is negative, not finite or absurd, numbers contradict each other, or the kind is none.
        """
        found: dict[str, Any] = {field.name: raw[field.name] for field in fields(cls) if field.name in raw}
        for name, value in found.items():
            if not isinstance(value, _find_type(name)) or (isinstance(value, bool) and name not in _FLAGS):
                raise TypeError(f"{name} of a layer is {value!r}")
            if isinstance(value, int | float) and not 0 <= value <= _MOST:
                raise ValueError(f"{name} of a layer is {value!r}")
        if found.get("kind") not in get_args(Kind):
            raise ValueError(f"kind of a layer is {found.get('kind')!r}")
        found |= {name: printable(found[name]) for name in _TEXTS if name in found}
        layer = cls(**found)
        layer.check()
        return layer

    def check(self) -> None:
        """Nothing, where numbers do not contradict each other.

        Raises:
            ValueError: they do.
        """
        if not self.steps:
            raise ValueError("steps of a layer are 0")
        if self.weight_bits > _WIDEST:
            raise ValueError(f"weight_bits of a layer is {self.weight_bits}: more than {_WIDEST}")
        for part, whole in _PARTS:
            least, most = getattr(self, part), getattr(self, whole)
            if least > most and not (part == "active" and self.by_spikes):  # a neuron may send several spikes a step
                raise ValueError(f"{part} of a layer is {least!r}, more than its {whole}, {most!r}")


def _find_type(name: str) -> tuple[type, ...]:
    """Of a field of layers, in a file."""
    if name in _TEXTS:
        return (str,)
    if name in _FLAGS:
        return (bool,)
    return (int,) if name in _WHOLE else (int, float)


def total(layers: Iterable[Layer], field: str) -> float:
    """The sum of one count over ``layers``."""
    return float(sum(getattr(layer, field) for layer in layers))


def average_layers(clips: Sequence[Sequence[Layer]]) -> list[Layer]:
    """The mean over clips of what the layers of one network do for each; sizes are those of the first."""
    return [
        replace(same[0], **{name: total(same, name) / len(same) for name in _MEANS})
        for same in zip(*clips, strict=True)
    ]
