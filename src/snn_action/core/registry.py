"""Names of datasets, backbones, neurons and models, and where their settings are.

What is registered is a settings class, as ``package.module:Class``: a part of the configuration, told apart by its
``type``, that also makes the item it describes.

========  ===================================================
dataset   ``settings.build(seed) -> Catalog``
backbone  ``settings.build(seed) -> Backbone``
neuron    ``settings.build(gradient) -> Neuron``
model     ``settings.build(in_features, num_classes) -> TemporalModel``
========  ===================================================

A class is imported when its name is asked for. To add an item, write one file and add one line here; from another
package, one entry point of the group ``snn_action.<kind>``, such as ``qif = "my_package.qif:QIFSettings"``. In a script
or a notebook neither is needed: a settings class is known by its name from where it is defined, as long as the process
lives.
"""

import fnmatch
import importlib
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Literal, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from snn_action.core.errors import ConfigError
from snn_action.core.settings import Settings, SettingsError, suggest, validate

Kind = Literal["dataset", "backbone", "neuron", "model"]
TAG: dict[Kind, str] = {"dataset": "type", "backbone": "name", "neuron": "type", "model": "type"}  # tells items apart

REGISTRY: dict[Kind, dict[str, str]] = {
    "dataset": {
        "synthetic": "snn_action.datasets.synthetic.dataset:SyntheticSettings",
        "ucf101": "snn_action.datasets.ucf101:UCF101Settings",
        "hmdb51": "snn_action.datasets.hmdb51:HMDB51Settings",
        "weizmann": "snn_action.datasets.weizmann:WeizmannSettings",
        "folder": "snn_action.datasets.folder:FolderSettings",
        "csv": "snn_action.datasets.csv:CSVSettings",
        "features": "snn_action.datasets.features:FeaturesSettings",
        "seed_frames": "snn_action.original_2020.frames:SeedFramesSettings",
        "seed_pickles": "snn_action.original_2020.pickled_features:SeedPicklesSettings",
    },
    "backbone": {
        "tiny": "snn_action.backbones.settings:TinySettings",
        "timm": "snn_action.backbones.settings:TimmSettings",
        "transformers": "snn_action.backbones.settings:TransformersSettings",
        "spiking_cnn": "snn_action.backbones.settings:SpikingCNNSettings",
        "res_cnn_encoder": "snn_action.original_2020.res_cnn_encoder:ResCNNEncoderSettings",
    },
    "neuron": {
        "spiking_rectified_linear": "snn_action.snn.settings:SpikingRectifiedLinearSettings",
        "rectified_linear": "snn_action.snn.settings:RectifiedLinearSettings",
        "lif": "snn_action.snn.settings:LIFSettings",
        "lif_rate": "snn_action.snn.settings:LIFRateSettings",
        "soft_lif_rate": "snn_action.snn.settings:SoftLIFRateSettings",
        "adaptive_lif": "snn_action.snn.settings:AdaptiveLIFSettings",
        "adaptive_lif_rate": "snn_action.snn.settings:AdaptiveLIFRateSettings",
        "izhikevich": "snn_action.snn.settings:IzhikevichSettings",
        "regular_spiking": "snn_action.snn.settings:RegularSpikingSettings",
        "stochastic_spiking": "snn_action.snn.settings:StochasticSpikingSettings",
        "poisson_spiking": "snn_action.snn.settings:PoissonSpikingSettings",
        "if": "snn_action.snn.settings:IntegrateAndFireSettings",
        "plif": "snn_action.snn.settings:ParametricLIFSettings",
        "sliding_psn": "snn_action.snn.settings:SlidingPSNSettings",
    },
    "model": {
        "mean_pool": "snn_action.models.settings:MeanPoolSettings",
        "lstm": "snn_action.models.settings:LSTMSettings",
        "lmu": "snn_action.models.settings:LMUSettings",
        "stacked_lmu": "snn_action.models.settings:StackedLMUSettings",
        "spiking_lmu": "snn_action.models.settings:SpikingLMUSettings",
        "spiking_lmu_2020": "snn_action.original_2020.spiking_lmu:SpikingLMU2020Settings",
        "ensemble_array": "snn_action.models.settings:EnsembleArraySettings",
        "late_fusion": "snn_action.models.settings:LateFusionSettings",
        "end_to_end": "snn_action.models.end_to_end_settings:EndToEndSettings",
    },
}
_defined: dict[Kind, dict[str, type["ItemSettings"]]] = {}  # outside this package, in modules that have been imported
ANY_BACKBONE = "snn_action.backbones.settings:BackboneSettings"  # of names that are not registered
# names and keys of earlier versions, which configurations and run folders still have
OLD_NAMES: dict[Kind, dict[str, str]] = {"model": {"frame_average": "mean_pool"}}
OLD_KEYS: dict[Kind, dict[str, str]] = {"model": {"normalise": "normalize"}}

# configurations of other projects: modules with NAME, matches(raw) and translate(raw) -> (ours, notes)
FOREIGN_CONFIGURATIONS = ("snn_action.original_2020.translate",)


class ItemSettings(Settings):
    """Settings of what can be registered: told apart by ``type`` (a backbone's by ``name``); ``build`` makes the item.

    Attributes:
        kind: Of the item.
        builds: What ``build`` calls, as ``package.module:name``; imported when it is called. A name alone is one in the
            module of the settings class.
    """

    kind: ClassVar[Kind]
    builds: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Make the class known by its name, where it has one of its own.

        Raises:
            TypeError: an item of this package has that name.
        """
        super().__pydantic_init_subclass__(**options)
        if not hasattr(cls, "kind") or TAG[cls.kind] not in cls.__annotations__:
            return
        place = f"{cls.__module__}:{cls.__qualname__}"
        for name in _own_names(cls):
            if name not in REGISTRY[cls.kind]:
                _defined.setdefault(cls.kind, {})[name] = cls
            elif REGISTRY[cls.kind][name] != place:
                raise TypeError(f"{cls.__name__}: there is a {cls.kind} {name!r} already; choose another name")

    @classmethod
    def load(cls) -> Any:
        """The class or function that ``builds`` names.

        Raises:
            TypeError: it names none.
        """
        if not cls.builds:
            raise TypeError(f"{cls.__name__}: set 'builds' to what it builds, or write a method 'build'")
        owner = next(base for base in cls.__mro__ if "builds" in vars(base))
        return load_object(cls.builds if ":" in cls.builds else f"{owner.__module__}:{cls.builds}")


def _own_names(cls: type[ItemSettings]) -> tuple[str, ...]:
    """The names that ``type: Literal["name"]`` allows, those of ``name`` in a backbone's settings."""
    annotation = cls.model_fields[TAG[cls.kind]].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def load_object(place: str) -> Any:
    """What ``package.module:name`` names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


@cache
def _plugins(kind: Kind) -> dict[str, EntryPoint]:
    """Items of other packages, by name: entry points of the group ``snn_action.<kind>``."""
    return {point.name: point for point in entry_points(group=f"snn_action.{kind}")}


def list_items(kind: Kind, pattern: str = "*") -> list[str]:
    """Names of all items of one kind that match a pattern such as ``"*lmu*"``, in alphabetical order."""
    return sorted(fnmatch.filter({*REGISTRY[kind], *_plugins(kind), *_defined.get(kind, {})}, pattern))


def find_settings(kind: Kind, name: str) -> type[ItemSettings]:
    """The settings class of one item; those of this package go before another package's of the same name.

    Raises:
        ConfigError: no item of this kind has that name, or another package's cannot be imported.
    """
    name = OLD_NAMES.get(kind, {}).get(name, name)
    found: Any
    if name in REGISTRY[kind]:
        found = load_object(REGISTRY[kind][name])
    elif name in _defined.get(kind, {}):
        found = _defined[kind][name]
    elif name in _plugins(kind):
        point = _plugins(kind)[name]
        try:
            found = point.load()
        except Exception as error:  # whatever is wrong with the other package
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"{kind} {name!r}: its entry point {point.value!r} cannot be loaded ({reason})"
            ) from error
        if not (isinstance(found, type) and issubclass(found, ItemSettings)):
            raise ConfigError(f"{kind} {name!r}: its entry point {point.value!r} is no settings class (ItemSettings)")
        if found.kind != kind or name not in _own_names(found):
            raise ConfigError(
                f"{kind} {name!r}: its entry point {point.value!r} needs {TAG[kind]}: Literal[{name!r}] = {name!r}"
            )
    elif kind == "backbone":  # one of torchvision's, which are too many to register
        found = load_object(ANY_BACKBONE)
    else:
        raise ConfigError(f"unknown {kind} {name!r}; {suggest(name, list_items(kind))}")
    settings: type[ItemSettings] = found
    return settings


def items(kind: Kind) -> Iterator[tuple[str, type[ItemSettings]]]:
    """All installed items of one kind: name and settings class; this package's first, in the order of the registry."""
    for name in dict.fromkeys([*REGISTRY[kind], *_plugins(kind)]):
        yield name, find_settings(kind, name)


def parse(kind: Kind, value: Any) -> Any:
    """Settings of an item, from a mapping with its ``type`` (a backbone's ``name``) or from settings already made.

    Raises:
        SettingsError: ``type`` is missing or unknown, a key does not fit, or the settings are of another kind.
    """
    if isinstance(value, ItemSettings):
        if value.kind != kind:
            raise SettingsError([((), f"{type(value).__name__} describes a {value.kind}, not a {kind}")])
        return value
    if not isinstance(value, Mapping):
        raise SettingsError([((), f"must be an object with a '{TAG[kind]}', or settings, not {reprlib.repr(value)}")])
    tag = TAG[kind]
    name = value.get(tag)
    if not isinstance(name, str):
        raise SettingsError([((tag,), f"missing: which {kind}? Known: {', '.join(list_items(kind))}")])
    name = OLD_NAMES.get(kind, {}).get(name, name)
    try:
        cls = find_settings(kind, name)
    except ConfigError as error:
        raise SettingsError([((tag,), str(error))]) from None
    old = OLD_KEYS.get(kind, {})
    return validate(cls, {old.get(key, key): setting for key, setting in {**value, tag: name}.items()})


@dataclass(frozen=True)
class Registered:
    """Marks a field that holds any item of ``kind``: ``model: Annotated[ModelSettings, Registered("model")]``.

    The class is looked up when a value comes, not when the field is defined: so items of other packages may import
    this package, and only what is named is imported.
    """

    kind: Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Any value that ``parse`` takes; it is written out as what it is."""
        del source, handler
        return core_schema.no_info_before_validator_function(partial(parse, self.kind), core_schema.any_schema())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A mark that ``config.make_schema`` replaces by all items."""
        del schema, handler
        return {"registered": self.kind}
