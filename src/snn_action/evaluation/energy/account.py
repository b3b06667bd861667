"""What a run costs, for ``metrics.json``, the report and ``snn-action energy``: layers, and estimates by target."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.estimate import Estimate, estimate, find_crossover, make_twin, spike_rate
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.targets import Target, list_targets, load_target
from snn_action.evaluation.energy.traffic import STATE_BITS

BITS = 8  # both networks quantized, as the strictest comparison asks for


@dataclass(frozen=True)
class Account:
    """The layers of one clip.

    Attributes:
        steps: Time steps of the clip.
        heads: Of the temporal model, by bits that its matrices are rounded to for it (``count_heads``).
        backbone: Of the network before it, for all images of the clip; None: features came with the dataset.
        baseline: Of ``mean_pool`` on the same features.
    """

    steps: int
    heads: Mapping[int, tuple[Layer, ...]]
    backbone: tuple[Layer, ...] | None
    baseline: tuple[Layer, ...]

    def head(self, bits: int = BITS) -> tuple[Layer, ...]:
        """Of the temporal model with weights of so many ``bits``."""
        return self.heads[bits]

    def twin(self, bits: int = BITS) -> tuple[Layer, ...] | None:
        """The head with numbers in the place of spikes; None: it does not spike."""
        head = self.head(bits)
        return tuple(make_twin(head)) if spike_rate(head) is not None else None

    @property
    def weight_bits(self) -> int | None:
        """Bits of matrices of the head that was trained to have so few; None: those of the estimate."""
        return next((layer.weight_bits for layer in self.head() if layer.weight_bits), None)

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``: layers, and the estimates of all targets with ``BITS`` bits."""
        found = {"head": self.head(), "backbone": self.backbone, "baseline": self.baseline}
        layers: dict[str, Any] = {part: None if one is None else [*map(_shorten, one)] for part, one in found.items()}
        others = {bits: head for bits, head in self.heads.items() if head != self.head()}
        layers["heads"] = {str(bits): [*map(_shorten, head)] for bits, head in others.items()}
        rows = [compare(self, load_target(name), BITS) for name in list_targets()]
        widths = {"bits": BITS, "weight_bits": self.weight_bits}
        return {"steps": self.steps, **widths, "layers": layers, "estimates": [row.to_dict() for row in rows]}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Account":
        """From ``to_dict``.

        Raises:
            ValueError: it is something else; or a ``TypeError``, ``KeyError`` or ``AttributeError``.
        """
        steps = raw["steps"]
        if not isinstance(steps, int) or isinstance(steps, bool) or not 0 < steps < 2**63:
            raise ValueError(f"steps of a clip are {steps!r}")

        def read(found: Sequence[dict[str, Any]] | None) -> tuple[Layer, ...]:
            return tuple(Layer.from_dict(layer) for layer in found or ())

        layers = raw["layers"]
        others = layers.get("heads", {})  # runs of older versions have one count for all
        heads = {bits: read(others.get(str(bits), layers["head"])) for bits in STATE_BITS}
        if not all(heads.values()):
            raise ValueError("the head has no layers")
        backbone = layers.get("backbone")
        return cls(steps, heads, None if backbone is None else read(backbone), read(layers.get("baseline")))


@dataclass(frozen=True)
class Row:
    """Estimates of one target, in microjoules a clip; ``problem`` says why there are none.

    Attributes:
        target: Its name.
        title: What it is.
        factor: The true values are thought to lie between an estimate divided by it and multiplied by it.
        head: Of the temporal model.
        twin: Of the same with numbers in the place of spikes, all non-zero; None: it does not spike.
        baseline: Of ``mean_pool``.
        backbone: Of the network before; None: features came with the dataset.
        twin_chain: Of backbone and head together with numbers in the place of spikes in both; None: neither spikes.
        crossover: Spikes a neuron and step below which the head needs less than its twin; None: at no rate.
        rate: Spikes a neuron and step as they are.
        parts: Of the head: arithmetic, and bytes by level.
        problem: Why the target gives no estimate.
    """

    target: str
    title: str
    factor: float
    head: float | None = None
    twin: float | None = None
    baseline: float | None = None
    backbone: float | None = None
    twin_chain: float | None = None
    crossover: float | None = None
    rate: float | None = None
    parts: Mapping[str, float] | None = None
    problem: str | None = None

    @property
    def chain(self) -> float | None:
        """Of backbone and head together."""
        return None if self.backbone is None or self.head is None else self.backbone + self.head

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return {**asdict(self), "chain": self.chain}


def compare(account: Account, target: Target, bits: int) -> Row:
    """The head on ``target`` beside its twin, the baseline and the backbone, all with numbers of ``bits``."""
    counted, without_spikes = account.head(bits), account.twin(bits)
    row = Row(target.name, target.title, target.factor, rate=spike_rate(counted))

    def price(layers: Sequence[Layer] | None) -> Estimate | None:
        return None if layers is None else estimate(layers, target, bits)

    try:
        head, twin, baseline = price(counted), price(without_spikes), price(account.baseline)
        assert head is not None
        crossover = None if without_spikes is None else find_crossover(counted, without_spikes, target, bits)
    except ConfigError as error:
        return Row(**{**asdict(row), "problem": str(error)})
    layers, problem = account.backbone or (), None
    try:
        backbone, plain = price(account.backbone), price(make_twin(layers))
    except ConfigError as error:
        backbone, plain, problem = None, None, str(error)
    spikes = row.rate is not None or spike_rate(layers) is not None
    together = (twin or head).total + plain.total if spikes and backbone and plain else None
    found = {"head": head, "twin": twin, "baseline": baseline, "backbone": backbone}
    totals = {name: None if one is None else one.total for name, one in found.items()}
    more = {"twin_chain": together, "crossover": crossover, "parts": head.sums, "problem": problem}
    return Row(**{**asdict(row), **totals, **more})


def _shorten(layer: Layer) -> dict[str, Any]:
    """A layer without what is zero, but for its name and kind."""
    return {key: value for key, value in layer.to_dict().items() if value or key in ("name", "part", "kind", "steps")}
