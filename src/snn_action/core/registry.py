"""Names of datasets, backbones, neurons and models, and the modules that hold them.

A module is imported only when its item is asked for. Each module holds ``Settings`` (its part of the
configuration, told apart by ``type``) and ``build`` (makes the item from those settings):

========  ==========================================================
dataset   ``build(settings, seed) -> Catalog``
backbone  ``build(settings, seed) -> Backbone``
neuron    ``build(settings, gradient) -> Neuron``
model     ``build(settings, in_features, num_classes) -> TemporalModel``
========  ==========================================================

A dataset's module may also have ``keep_features(settings, catalog, features)``, called once features are extracted.

To add an item, write one such module and add one line here.
"""

import difflib
import importlib
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

from snn_action.core.errors import ConfigError

Kind = Literal["dataset", "backbone", "neuron", "model"]

REGISTRY: dict[Kind, dict[str, str]] = {
    "dataset": {
        "synthetic": "snn_action.datasets.synthetic.dataset",
        "ucf101": "snn_action.datasets.ucf101",
        "hmdb51": "snn_action.datasets.hmdb51",
        "weizmann": "snn_action.datasets.weizmann",
        "folder": "snn_action.datasets.folder",
        "csv": "snn_action.datasets.csv",
        "features": "snn_action.datasets.features",
        "seed_frames": "snn_action.original_2020.frames",
        "seed_pickles": "snn_action.original_2020.pickled_features",
    },
    "backbone": {
        "tiny": "snn_action.backbones.tiny",
        "res_cnn_encoder": "snn_action.original_2020.res_cnn_encoder",
    },
    "neuron": {
        "spiking_rectified_linear": "snn_action.snn.neurons.spiking_rectified_linear",
        "rectified_linear": "snn_action.snn.neurons.rectified_linear",
        "lif": "snn_action.snn.neurons.lif",
        "lif_rate": "snn_action.snn.neurons.lif_rate",
        "soft_lif_rate": "snn_action.snn.neurons.soft_lif_rate",
        "adaptive_lif": "snn_action.snn.neurons.adaptive_lif",
        "adaptive_lif_rate": "snn_action.snn.neurons.adaptive_lif_rate",
        "izhikevich": "snn_action.snn.neurons.izhikevich",
        "regular_spiking": "snn_action.snn.neurons.regular_spiking",
        "stochastic_spiking": "snn_action.snn.neurons.stochastic_spiking",
        "poisson_spiking": "snn_action.snn.neurons.poisson_spiking",
        "if": "snn_action.snn.neurons.integrate_and_fire",
        "plif": "snn_action.snn.neurons.parametric_lif",
        "sliding_psn": "snn_action.snn.neurons.sliding_psn",
    },
    "model": {
        "frame_average": "snn_action.models.mean_pool",
        "lstm": "snn_action.models.lstm",
        "lmu": "snn_action.models.lmu",
        "stacked_lmu": "snn_action.models.stacked_lmu",
        "spiking_lmu": "snn_action.models.spiking_lmu",
        "spiking_lmu_2020": "snn_action.original_2020.spiking_lmu",
        "ensemble_array": "snn_action.models.ensemble_array",
    },
}


# configurations of other projects: modules with NAME, matches(raw) and translate(raw) -> (ours, notes)
FOREIGN_CONFIGURATIONS = ("snn_action.original_2020.translate",)


class Settings(BaseModel):
    """A part of the configuration: immutable, strictly typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


class SettingsError(ConfigError):
    """Keys that do not fit, each with its place in the configuration and what would fit."""

    def __init__(self, problems: list[tuple[tuple[str, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{'.'.join(place)}: {text}" if place else text for place, text in problems))


def suggest(name: str, known: list[str]) -> str:
    """A half sentence that names the nearest known name and all others."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(sorted(known))}"


def load_item(kind: Kind, name: str) -> ModuleType:
    """Import the module of one registered item.

    Raises:
        ConfigError: no item of this kind has that name.
    """
    if name not in REGISTRY[kind]:
        raise ConfigError(f"unknown {kind} {name!r}; {suggest(name, list(REGISTRY[kind]))}")
    return importlib.import_module(REGISTRY[kind][name])


def items(kind: Kind) -> Iterator[tuple[str, ModuleType]]:
    """All registered items of one kind."""
    for name in REGISTRY[kind]:
        yield name, load_item(kind, name)


def validate(cls: type[S], value: Mapping[str, Any]) -> S:
    """Check a mapping against a settings class.

    Raises:
        SettingsError: names every key that does not fit, with its place and the nearest valid key.
    """
    try:
        return cls.model_validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        raise SettingsError([problem for entry in error.errors() for problem in _explain(cls, dict(entry))]) from None


def parse(kind: Kind, value: Any) -> Settings:
    """Settings of a registered item, from a mapping with ``type`` or from settings already made.

    Raises:
        SettingsError: ``type`` is missing or unknown, or a key does not fit.
    """
    if isinstance(value, Settings):
        return value
    if not isinstance(value, Mapping):
        raise SettingsError([((), f"must be an object with a 'type', not {reprlib.repr(value)}")])
    name = value.get("type")
    if not isinstance(name, str):
        raise SettingsError([(("type",), f"missing: which {kind}? Known: {', '.join(REGISTRY[kind])}")])
    try:
        cls: type[Settings] = load_item(kind, name).Settings
    except ConfigError as error:
        raise SettingsError([(("type",), str(error))]) from None
    return validate(cls, value)


def registered(kind: Kind) -> Any:
    """The annotation of a settings field that holds any registered item of ``kind``."""

    def check(value: Any) -> Settings:
        return parse(kind, value)  # pydantic keeps its SettingsError, ``_explain`` takes it apart

    return Annotated[SerializeAsAny[Settings], BeforeValidator(check), Field(json_schema_extra={"registered": kind})]


def build(kind: Kind, settings: Settings, *args: Any) -> Any:
    """Make the item that ``settings`` describe."""
    maker: Callable[..., Any] = load_item(kind, settings.type).build  # type: ignore[attr-defined]
    return maker(settings, *args)


def _explain(cls: type[BaseModel], entry: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Each problem of pydantic's ``entry`` with its place; those of a registered item come with it."""
    place = tuple(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        owner = _owner(cls, place[:-1])
        return [(place, f"unknown key; {suggest(place[-1], list(owner.model_fields))}")]
    if entry["type"] == "missing":
        return [(place, "missing; it has no default")]
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, SettingsError):
        return [((*place, *inner), text) for inner, text in cause.problems]
    text = entry["msg"] if cause is None else str(cause)  # without pydantic's "Value error, "
    if isinstance(entry["input"], Mapping):  # what does not fit together is named in the text
        return [(place, text)]
    return [(place, f"{text} (got {reprlib.repr(entry['input'])})")]


def _owner(cls: type[BaseModel], place: tuple[str, ...]) -> type[BaseModel]:
    for part in place:
        field = cls.model_fields.get(part)
        candidates = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is None:
            return cls
        cls = inner
    return cls
