"""Whether a network fits on a neuromorphic chip: each published limit against what the network's layers need.

Limits are those of one chip. What is not published is not checked, and the report says so. Counts do not say how a
network is placed on cores; a network that fits here may still fail there.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.core.settings import Settings
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.records import list_records, load_record

_FOLDER = Path(__file__).parent / "chips"


class Chip(Settings):
    """Limits of one chip as published; null: not published."""

    name: str = Field(min_length=1, description="A short name")
    title: str = Field(min_length=1, description="Maker and product")
    year: int = Field(ge=1900, le=2100, description="Of the source, or of the chip where the source has no date")
    neuron_model: str = Field(min_length=1, description="What kind of neurons it has")
    sources: tuple[str, ...] = Field(min_length=1, description="Full citations, with a DOI or an address")
    notes: str = Field(min_length=1, description="How the limits are meant, and others that are not checked")
    neurons: int | None = Field(None, ge=1, description="Spiking neurons")
    synapses: int | None = Field(None, ge=1, description="Weights")
    memory_bytes: int | None = Field(None, ge=1, description="Bytes for weights, where these share one memory")
    layers: int | None = Field(None, ge=1, description="Sets of synapses")
    layer_synapses: int | None = Field(None, ge=1, description="Weights of one set")
    inputs: int | None = Field(None, ge=1, description="Values or channels that come in from outside")
    outputs: int | None = Field(None, ge=1, description="Results that are read out")
    fan_in: int | None = Field(None, ge=1, description="Inputs of one neuron")
    fan_out: int | None = Field(None, ge=1, description="Targets of one neuron")
    weight_bits: int | None = Field(None, ge=1, description="Bits of a weight")
    state_bits: int | None = Field(None, ge=1, description="Bits of a neuron's state")
    graded: bool | None = Field(None, description="Whether events can carry a number")
    recurrence: bool | None = Field(None, description="Whether a layer can be connected to itself")
    processor: bool | None = Field(None, description="Whether a processor for other work is on the chip")


@dataclass(frozen=True)
class Check:
    """One limit.

    Attributes:
        limit: Key of ``Chip``; "numbers" for layers that pass on numbers.
        needed: What the layers need; None: their counts do not tell.
        available: What the chip has; None: not published.
        fits: Whether the one is within the other; None: unknown.
        advice: Where it does not fit, what has to shrink and to what; else empty.
        most: Where counts tell only that between ``needed`` and so much is needed; else None.
    """

    limit: str
    needed: float | None
    available: float | None
    fits: bool | None
    advice: str = ""
    most: float | None = None


@dataclass(frozen=True)
class FitReport:
    """Every limit of a chip against a network.

    Attributes:
        chip: Name of the chip.
        bits: Width of the weights.
        whole: Whether the backbone is to fit too.
        checks: One for each limit.
    """

    chip: str
    bits: int
    whole: bool
    checks: tuple[Check, ...]

    @property
    def fits(self) -> bool | None:
        """False where one limit is broken; None where none is and one is unknown."""
        found = {check.fits for check in self.checks}
        return False if False in found else None if None in found else True

    @property
    def broken(self) -> tuple[Check, ...]:
        """The limits that the network does not keep."""
        return tuple(check for check in self.checks if check.fits is False)

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        checks, why = [asdict(check) for check in self.checks], [check.advice for check in self.broken]
        return {**asdict(self), "checks": checks, "fits": self.fits, "why": why}


def load_chip(name: str) -> Chip:
    """A chip of the package by its name, or one of the user's by the path of a file that ends in ".json".

    Raises:
        ConfigError: there is no such chip, or the file does not fit; one line, which names the file and the key.
    """
    return load_record(Chip, _FOLDER, name, "chip")


def list_chips() -> list[str]:
    """The names of the chips that come with the package, in order."""
    return list_records(_FOLDER)


def check_fit(
    layers: Sequence[Layer],
    chip: Chip,
    bits: int,
    *,
    whole: bool = False,
    inputs: int | None = None,
    outputs: int | None = None,
    recurrent: bool | None = None,
) -> FitReport:
    """Check what a network needs against the limits of a chip.

    Neurons are those of spiking populations. Weights are those that are not zero. Layers whose inputs are numbers, and
    values that are carried on without a synapse, need events that carry numbers or a processor on the chip.

    Args:
        layers: Of the network, as counted.
        chip: From ``load_chip``.
        bits: Width of the weights, but of those that were trained with fewer; states are thought to need as many at
            least.
        whole: Also the layers of the backbone; else those of the head alone.
        inputs: Values of a step that come in, which counts do not tell; None: not known.
        outputs: Results of a step; None: not known.
        recurrent: Whether a layer is connected to itself; None: not known.

    Raises:
        ConfigError: ``bits`` is less than 1.
    """
    if bits < 1:
        raise ConfigError(f"bits: must be 1 or more (got {bits})")
    chosen = [layer for layer in layers if whole or layer.part == "head"]
    synapses = [layer for layer in chosen if layer.kind == "synapses"]
    widths = [layer.find_weight_bits(bits) for layer in synapses]
    checks = (
        _check_neurons([layer for layer in chosen if layer.kind == "neurons"], chip),
        *_check_weights(synapses, chip, bits),
        _check_size("inputs", inputs, chip.inputs),
        _check_size("outputs", outputs, chip.outputs),
        *_check_connections(synapses, chip),
        _check_width("weight_bits", "weights", max(widths, default=0), chip.weight_bits),
        _check_width("state_bits", "states", bits if any(layer.states for layer in chosen) else 0, chip.state_bits),
        _check_numbers(chosen, chip),
        _check_recurrence(recurrent, chip),
    )
    return FitReport(chip.name, bits, whole, checks)


def _compare(limit: str, needed: float, available: float | None, advice: str, most: float | None = None) -> Check:
    """A check whose ``advice`` is for the case that it fails; nothing needed always fits.

    Where counts tell only that at least ``needed`` and at ``most`` so much is needed, what is between is not known.
    """
    fits = True if not needed else None if available is None else needed <= available
    if fits and most is not None and available is not None and most > available:
        fits = None
    between = most if most is not None and most > needed else None
    return Check(limit, needed, available, fits, advice if fits is False else "", between)


def _check_neurons(populations: Sequence[Layer], chip: Chip) -> Check:
    needed, most = sum(layer.outputs for layer in populations), chip.neurons or 0
    advice = f"{needed:,} spiking neurons; at most {most:,} fit: "
    largest = max(populations, key=lambda layer: layer.outputs, default=None)
    rest = largest.outputs - (needed - most) if largest else 0
    if largest and rest > 0:
        advice += f"shrink {largest.name!r} from {largest.outputs:,} to {rest:,} neurons or fewer"
    else:
        advice += f"shrink all {len(populations)} populations to {most:,} neurons or fewer together"
    return _compare("neurons", needed, chip.neurons, f"{advice} (hidden units: model.units)")


def _check_weights(synapses: Sequence[Layer], chip: Chip, bits: int) -> list[Check]:
    weights = sum(layer.nonzero for layer in synapses)
    most = chip.synapses or 0
    of_all = f"{weights:,} weights that are not zero; at most {most:,} fit: keep {most:,} or fewer, by fewer units or "
    stored = sum(layer.nonzero * layer.find_weight_bits(bits) for layer in synapses)
    size, room = math.ceil(stored / 8), chip.memory_bytes or 0
    kept, width = room * 8 * weights // stored if stored else 0, room * 8 // weights if weights else 0
    widths = sorted({layer.find_weight_bits(bits) for layer in synapses})
    shown = " and ".join(map(str, widths)) or str(bits)
    of_memory = f"{size:,} bytes of weights of {shown} bits; {room:,} fit: keep {kept:,} weights or fewer"
    if width:
        of_memory += f", or quantize them to {width} bit{'s' if width > 1 else ''} or fewer"
    largest = max(synapses, key=lambda layer: layer.nonzero, default=Layer("", "head", "synapses", 0))
    one = chip.layer_synapses or 0
    of_one = (
        f"{largest.name!r} has {largest.nonzero:,} weights that are not zero; one layer holds at most {one:,}: keep "
        f"{one:,} or fewer, or split it"
    )
    few = chip.layers or 0
    of_layers = f"{len(synapses)} sets of synapses; at most {few} fit: use a model with {few} or fewer"
    return [
        _compare("synapses", weights, chip.synapses, of_all + "by pruning"),
        _compare("memory_bytes", size, chip.memory_bytes, of_memory),
        _compare("layers", len(synapses), chip.layers, of_layers),
        _compare("layer_synapses", largest.nonzero, chip.layer_synapses, of_one),
    ]


def _check_connections(synapses: Sequence[Layer], chip: Chip) -> list[Check]:
    """A neuron may have more than the mean of one set: those of other sets, and weights that are not spread evenly."""
    empty = Layer("", "head", "synapses", 0)
    wide = max(synapses, key=lambda layer: layer.stored_fan_in, default=empty)
    broad = max(synapses, key=lambda layer: layer.stored_fan_out, default=empty)
    inputs, targets = chip.fan_in or 0, chip.fan_out or 0
    entering, reached = math.ceil(wide.stored_fan_in), math.ceil(broad.stored_fan_out)
    into = (
        f"a target of {wide.name!r} has {entering:,} inputs; at most {inputs:,} fit: shrink what comes before it to "
        f"{inputs:,} values or fewer, or prune it"
    )
    out = (
        f"an input of {broad.name!r} has {reached:,} targets; at most {targets:,} fit: shrink it to {targets:,} "
        "outputs or fewer, or prune it"
    )
    most_in, most_out = (sum(getattr(one, f"most_{name}") for one in synapses) for name in ("fan_in", "fan_out"))
    return [
        _compare("fan_in", entering, chip.fan_in, into, most_in),
        _compare("fan_out", reached, chip.fan_out, out, most_out),
    ]


def _check_size(limit: str, needed: int | None, available: int | None) -> Check:
    """Of ``inputs`` or ``outputs``."""
    if needed is None:
        return Check(limit, None, available, None)
    what = "features, or keep fewer (PCA, model.encoders 'selected')" if limit == "inputs" else "classes"
    return _compare(limit, needed, available, f"{needed:,} {limit}; at most {available or 0:,} fit: use fewer {what}")


def _check_width(limit: str, what: str, needed: int, available: int | None) -> Check:
    most = available or 0
    advice = f"{what} of {needed} bits; at most {most} fit: quantize them to {most} bits or fewer"
    return _compare(limit, needed, available, advice)


def _check_numbers(layers: Sequence[Layer], chip: Chip) -> Check:
    """What is available is all that is needed, or nothing."""
    found = [
        layer.name for layer in layers if layer.kind == "states" or (layer.kind == "synapses" and not layer.by_spikes)
    ]
    needed = len(found)
    if chip.graded or chip.processor:
        return Check("numbers", needed, needed, True)
    names = ", ".join(repr(name) for name in found[:5]) + (f" and {needed - 5} more" if needed > 5 else "")
    advice = (
        f"{names}: numbers, not spikes; the chip has neither events that carry numbers nor a processor: compute "
        f"{'these layers' if needed > 1 else 'this layer'} beside it, or use spikes there"
    )
    unknown = chip.graded is None or chip.processor is None
    return _compare("numbers", needed, None if unknown else 0, advice)


def _check_recurrence(recurrent: bool | None, chip: Chip) -> Check:
    available = None if chip.recurrence is None else float(chip.recurrence)
    if recurrent is None:
        return Check("recurrence", None, available, True if chip.recurrence else None)
    advice = "a layer is connected to itself, which the chip cannot do: use a model without recurrence"
    return _compare("recurrence", float(recurrent), available, advice)
