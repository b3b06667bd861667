"""The configuration of a run: what may be set, its defaults, and how a file and overrides become one object."""

import importlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from snn_action.backbones.settings import BackboneSettings
from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.core.reading import parse_json, read_text, reading
from snn_action.core.registry import Registered
from snn_action.core.settings import Settings, SettingsError, validate
from snn_action.datasets.catalog import DatasetSettings
from snn_action.models.settings import ModelSettings
from snn_action.video.settings import ClipSettings, FrameAugmentSettings, LimitSettings

logger = logging.getLogger(__name__)

LARGEST_FILE, DEEPEST_KEY = 2**24, 20  # bytes, sections
Rate = Annotated[float, Field(ge=0)]


class FeatureSettings(Settings):
    """Where features are kept and how they are extracted."""

    store: Path = Field(Path("save/features"), validate_default=False, description="Folder of the feature store")
    index: Path | None = Field(None, description="Its index on a disk of this machine's own; null: in the store")
    shard_videos: int = Field(64, ge=1, le=10**6, description="Videos that are written together")
    workers: int = Field(1, ge=0, le=1024, description="Processes that decode; 0: decode in the main process")
    limits: LimitSettings = Field(LimitSettings(), description="What one video may ask for; more is unreadable")


class LossSettings(Settings):
    """Weights of the two cross-entropies."""

    timestep: float = Field(1.0, ge=0, description="Weight of the loss averaged over time steps")
    clip: float = Field(0.0, ge=0, description="Weight of the loss of the softmax averaged over time")
    spikes: float = Field(0.0, ge=0, description="Weight of the penalty on spikes above spike_target")
    spike_target: Rate | Annotated[dict[str, Rate], Field(min_length=1)] = Field(
        0.0, description="Spikes a neuron and step that cost nothing: of each population, or by the names of some"
    )


class AugmentSettings(Settings):
    """How training clips are varied, drawn anew for each clip and epoch; validation and test see them as they are."""

    seed: int | None = Field(
        None, ge=0, lt=2**32, description="Of all draws; null: the run's, for changed frames 0, so that runs share them"
    )
    redraw: bool = Field(
        False,
        description="Draw the frames of training clips anew each epoch, from stored features of all frames: one frame "
        "of each part of the video, or for 'first' and 'sliding' where a clip begins",
    )
    speed: tuple[float, float] = Field(
        (1.0, 1.0), strict=False, description="Range of speeds; below 1 a short clip gets longer, above 1 shorter"
    )
    jitter: float = Field(0.0, ge=0, le=4, description="Largest shift of each step in time, in steps, interpolated")
    drop: float = Field(0.0, ge=0, lt=1, description="Share of steps that are dropped; the clip gets shorter")
    noise: float = Field(0.0, ge=0, le=1000, description="Deviation of noise, in deviations of a stream's features")
    mix_streams: float = Field(
        0.0, ge=0, le=1, description="Share of clips one stream of which is that of another clip of the class"
    )
    mixup: float = Field(0.0, ge=0, le=10, description="Clips are mixed in shares from Beta(mixup, mixup); 0: not")
    frames: FrameAugmentSettings = Field(
        FrameAugmentSettings(), description="Versions of training videos with changed frames; each epoch draws one"
    )
    copies: int = Field(
        1, ge=0, le=1000, description="Varied copies of a clip for what is solved at once, as mean_pool is; not mixed"
    )

    @field_validator("speed")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.25 <= value[0] <= value[1] <= 4:
            raise ValueError("must be two speeds from 0.25 to 4, the lower first")
        return value

    @property
    def is_active(self) -> bool:
        """Whether any of it is switched on."""
        amounts = (self.jitter, self.drop, self.noise, self.mix_streams, self.mixup, self.frames.versions)
        return self.redraw or self.speed != (1.0, 1.0) or any(amounts)


class TrainingSettings(Settings):
    """How the temporal model learns."""

    epochs: int = Field(30, ge=0, le=10**6, description="Passes over the training clips")
    batch_size: int = Field(100, ge=1, le=10**6, description="Clips of one training step, of all processes together")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="They differ in weight_decay alone")
    learning_rate: float = Field(1e-3, gt=0, description="The largest step size; see schedule")
    weight_decay: float = Field(0.0, ge=0, description="Adam: L2 penalty on weights; AdamW: decoupled decay")
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="Learning rate after the warmup: constant, or falling to 0 along a cosine"
    )
    warmup_epochs: int = Field(0, ge=0, le=10**6, description="Epochs in which the learning rate rises from 0")
    loss: LossSettings = Field(LossSettings(), description="Weights of the terms of the loss")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target spread evenly over all classes")
    feature_noise: float = Field(0.0, ge=0, description="Deviation of noise on standardized inputs, new at each step")
    augment: AugmentSettings = Field(AugmentSettings(), description="How training clips are varied; by default not")
    gradient_clip: float | None = Field(None, gt=0, description="Largest norm of the gradient; null: not clipped")
    weight_bits: int | None = Field(
        None, ge=2, le=8, description="Bits of the rounded matrices; null: none are rounded"
    )
    validation_share: float = Field(0.2, ge=0, lt=1, description="Share of training groups; 0: the last epoch counts")
    patience: int | None = Field(None, ge=1, le=10**6, description="Epochs without improvement; null: it never stops")
    shuffle: bool = Field(True, description="Draw a new order of the training clips each epoch")
    sorted_batches: int = Field(
        1, ge=1, le=10**6, description="Batches cut together from clips sorted by length: less is padded; 1: as drawn"
    )
    workers: int = Field(0, ge=0, le=1024, description="Processes that read batches; 0: the training process does")
    pin_memory: bool = Field(False, description="Page-locked memory for batches: faster copies to a GPU")
    loggers: list[Literal["tensorboard", "wandb", "mlflow", "csv"]] = Field(
        [], description="Also log training curves there; each but csv needs the extra of its name"
    )
    weights: Path | None = Field(None, description="Start from these weights (.ckpt of a run)")
    skip: bool = Field(False, description="No training: test the weights as they are")
    initial_accuracy: bool = Field(False, description="Also test before training")

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, value: Any) -> Any:
        """``tensorboard`` was a switch; runs of that time have it in their configuration."""
        if isinstance(value, dict) and isinstance(old := value.get("tensorboard"), bool):
            others = {key: setting for key, setting in value.items() if key != "tensorboard"}
            value = {"loggers": ["tensorboard"] if old else [], **others}
        return value


class EvaluationSettings(Settings):
    """How a trained model is tested."""

    batch_size: int = Field(100, ge=1, le=10**6, description="Clips tested at once")
    baseline: bool = Field(True, description="Also fit and test the mean-pool baseline on the same features")
    leakage: Literal["refuse", "mark", "drop"] = Field(
        "refuse", description="What a test set that leaks does: see docs/explanation/leakage.md"
    )
    controls: bool = Field(
        True, description="Also test on clips with their frames in random order, or the first one repeated"
    )
    test_curve: bool = Field(True, description="Also test after every epoch, for the figure; never used to choose")
    calibration: bool | None = Field(
        None, description="Fit a temperature on held-out groups; true: train one more model for it if need be"
    )
    known_share: float = Field(0.95, gt=0, le=1, description="Share of known held-out videos not called unknown")
    background: str | None = Field(None, description="A class that counts as unknown in predictions")

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, value: Any) -> Any:
        """``allow_leakage`` was a switch; runs of that time have it in their configuration."""
        if isinstance(value, dict) and isinstance(old := value.get("allow_leakage"), bool):
            others = {key: setting for key, setting in value.items() if key != "allow_leakage"}
            value = {"leakage": "mark" if old else "refuse", **others}
        return value


class ReportSettings(Settings):
    """What the report shows."""

    clips: int = Field(3, ge=0, le=1000, description="Test clips shown with their frames and predictions")


class Config(Settings):
    """The whole configuration of a run."""

    name: str = Field(min_length=1, pattern=r"^\w[\w.-]*$", description="Folder of the run below save_dir")
    seed: int = Field(0, ge=0, lt=2**32, description="Of weights, order of clips, noise and drawn splits")
    save_dir: Path = Field(  # JSON has no paths to validate it by
        Path("save"), validate_default=False, description="Folder of all runs, relative to the working directory"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda|cuda:\d+|\d+(,\d+)*)$", description="auto, cpu, cuda, GPUs")
    precision: Literal["32", "bf16", "16"] = Field("32", description="Arithmetic of training")
    dataset: Annotated[DatasetSettings, Registered("dataset")] = Field(
        description="Videos or features, their classes and split"
    )
    clip: ClipSettings = Field(ClipSettings(), description="Which frames of a video make a clip, and its streams")
    backbone: Annotated[BackboneSettings, Registered("backbone")] = Field(
        BackboneSettings(), description="The network that turns a frame, or a window of frames, into a vector"
    )
    features: FeatureSettings = Field(FeatureSettings(), description="Where features are kept, how they are extracted")
    model: Annotated[ModelSettings, Registered("model")] = Field(description="The temporal model")
    training: TrainingSettings = Field(TrainingSettings(), description="How the temporal model learns")
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="How the trained model is tested")
    report: ReportSettings = Field(ReportSettings(), description="What the report shows")

    def to_json(self) -> str:
        """The configuration with every default written out, as it is saved in the run folder."""
        return self.model_dump_json(indent=2) + "\n"


def read_file(path: str | Path) -> dict[str, Any]:
    """The JSON object in a configuration file; a foreign one (``registry``) is translated, and shown in the log.

    Raises:
        ConfigError: the file is missing, is not JSON or holds no object.
    """
    path = Path(path)
    with reading(path, "not JSON"):
        raw: Any = parse_json(read_text(path, LARGEST_FILE))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a configuration is a JSON object, not {type(raw).__name__}")
    for foreign in map(importlib.import_module, registry.FOREIGN_CONFIGURATIONS):
        if foreign.matches(raw):
            raw, notes = foreign.translate(raw)
            logger.info("%s is of %s; the same in today's form:\n%s", path, foreign.NAME, json.dumps(raw, indent=2))
            for note in notes:
                logger.warning(note)
    return {key: value for key, value in raw.items() if key != "$schema"}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply overrides such as ``"training.epochs=5"``.

    A value is read as JSON where it is JSON and as text otherwise. A foreign
    configuration (``registry.FOREIGN_CONFIGURATIONS``) is translated.

    Raises:
        ConfigError: the file is missing or not JSON, or a key or value does not fit.
    """
    try:
        return make_config(override(read_file(path), overrides))
    except SettingsError as error:
        lines = "\n".join(f"  {'.'.join(place) or 'file'}: {text}" for place, text in error.problems)
        raise ConfigError(f"{path}: the configuration does not fit:\n{lines}") from None


def make_config(raw: Mapping[str, Any]) -> Config:
    """Check a mapping as a configuration.

    Raises:
        SettingsError: a key or value does not fit.
    """
    return validate(Config, raw)


def override(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``raw`` with ``section.key=value`` put in.

    Raises:
        ConfigError: an override is not of that form, or runs through a value that has no keys.
    """
    result: dict[str, Any] = json.loads(json.dumps(raw))
    for text in overrides:
        key, equals, value = text.partition("=")
        places = key.strip().split(".")
        if not equals or not all(places):
            raise ConfigError(f"override {text!r} is not of the form section.key=value")
        if len(places) > DEEPEST_KEY:
            raise ConfigError(f"override {text[:40]!r}...: no key lies {len(places)} deep")
        node = result
        for place in places[:-1]:
            node = node.setdefault(place, {})
            if not isinstance(node, dict):
                raise ConfigError(f"override {text!r}: {place!r} is a value, it has no keys")
        try:
            node[places[-1]] = parse_json(value)
        except ValueError:  # no JSON: text
            node[places[-1]] = value
    return result


def make_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, with every registered item, for editors."""
    schema = Config.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    schema["properties"]["$schema"] = {"type": "string"}

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        kind: registry.Kind | None = node.get("registered")
        if kind is not None:
            choices = [{"$ref": add(kind, name, cls)} for name, cls in registry.items(kind)]
            if kind == "backbone":  # of any other name, too
                choices.append({"$ref": add(kind, "torchvision", BackboneSettings)})
            return {"description": node.get("description"), "anyOf" if kind == "backbone" else "oneOf": choices}
        return {key: resolve(value) for key, value in node.items()}

    def add(kind: registry.Kind, name: str, cls: type[Settings]) -> str:
        key = f"{kind}_{name}"
        if key not in definitions:
            definitions[key] = {}  # a neuron may hold a neuron: keep the recursion finite
            own = cls.model_json_schema()
            definitions.update(resolve(own.pop("$defs", {})))
            required = {*own.get("required", []), *([] if name == "torchvision" else [registry.TAG[kind]])}
            definitions[key] = {**resolve(own), "required": sorted(required)}
        return f"#/$defs/{key}"

    resolved: dict[str, Any] = resolve(schema)
    resolved["$defs"] = {**resolved["$defs"], **definitions}
    return resolved


__all__ = [
    "AugmentSettings",
    "BackboneSettings",
    "ClipSettings",
    "Config",
    "EvaluationSettings",
    "FeatureSettings",
    "FrameAugmentSettings",
    "LimitSettings",
    "LossSettings",
    "ReportSettings",
    "Settings",
    "TrainingSettings",
    "load_config",
    "make_config",
    "make_schema",
    "override",
]
