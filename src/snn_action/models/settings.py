"""What may be set about temporal models; without PyTorch, so that a configuration is read at once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from snn_action.core.registry import ItemSettings, Kind, Registered
from snn_action.snn.settings import (
    CODED,
    HIGHEST_RATE,
    THETA,
    Discretizer,
    FunctionName,
    Gradient,
    NeuronSettings,
    SpikingRectifiedLinearSettings,
    Trained,
)

if TYPE_CHECKING:
    from snn_action.models.base import TemporalModel

Scaling = Literal["feature", "global"]
Readout = Literal["random", "logistic", "least_squares"]
Encoders = Literal["random", "on_off", "selected"]
Input = Literal["features", "difference", "second_difference", "mean"]
Window = Annotated[int, Field(ge=2, le=1024)]
Lag = Annotated[int, Field(ge=1, le=64)]
Part = Literal["encoders", "gain", "bias", "decoders"]


class ModelSettings(ItemSettings):
    """What every temporal model can be asked.

    Attributes:
        small: Values of keys with which a copy is built at once, to find out early what building would find out: of
            what makes the model large and decides nothing else.
    """

    kind: ClassVar[Kind] = "model"
    small: ClassVar[Mapping[str, Any]] = {}
    inputs: tuple[Input, ...] = Field(
        ("features",),
        min_length=1,
        description="What the model is given, side by side: features, their differences, means over 'windows'",
    )
    lags: tuple[Lag, ...] = Field(
        (1,), min_length=1, max_length=16, description="Steps back to which 'inputs' takes differences"
    )
    windows: tuple[Window, ...] = Field(
        (4, 8, 16), min_length=1, max_length=16, description="Steps over which 'inputs' takes means"
    )

    @field_validator("inputs", "windows", "lags")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) < len(value):
            raise ValueError("one is named twice")
        return value

    def shrink(self) -> Self:
        """The same, with ``small`` put over it."""
        return self.model_copy(update=self.small)

    def build(self, in_features: int, num_classes: int) -> "TemporalModel":
        """The model, its weights drawn by PyTorch's global generator.

        Raises:
            ConfigError: its neuron has no such gradient mode, say.
            ValueError: fewer than 1 feature or 2 classes.
        """
        model: TemporalModel = self.load()(in_features, num_classes, settings=self)
        return model


class MemorySettings(ModelSettings):
    """What every model with a Legendre memory can be asked."""

    small: ClassVar[Mapping[str, Any]] = {"memory_d": 1, "units": 2}
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    normalize: bool = Field(False, description="Each step's scaled input is divided by its root mean square")
    units: int = Field(128, ge=1, le=10**6, description="Hidden units; more remember and overfit more")
    order: int = Field(4, ge=1, le=512, description="Polynomials a memory; resolves about theta / order steps")
    theta: float = Field(
        28.0,
        ge=THETA[0],
        le=THETA[1],
        description="Steps that the memory holds; usually those of a clip, of a longer one older steps fade",
    )
    memory_d: int = Field(128, ge=1, le=10**6, description="Values to remember, learned projections of the input")
    discretizer: Discretizer = Field("zoh", description="'zoh' is exact; 'euler' is unstable for a small theta")
    trained: Trained = Field("none", description="What of the memory learns: none, its matrices, or theta")
    input_to_hidden: bool = Field(False, description="The hidden units also see the input")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped, one draw a clip")
    input_noise: float = Field(0.0, ge=0, description="Deviation of noise on the scaled input, one draw a clip")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of hidden units dropped before the logits")


class ReaderSettings(MemorySettings):
    """What the LMU with one layer of hidden units can be asked, spiking or not."""

    differences: int = Field(
        0, ge=0, le=64, description="The input is its difference to this many steps before, for motion; 0: as it is"
    )
    encoders: Encoders = Field(
        "random",
        description="At the start: random projections and units; memories of features, units in pairs for and against "
        "one coefficient (on_off); or the same of the 'memory_d' features that a readout needs most (selected)",
    )
    readout: Readout = Field(
        "random", description="Output weights at the start: drawn, or solved by a regression on the hidden units"
    )
    readout_strength: float = Field(0.3, gt=0, description="L2 strength of the solved output weights")
    opposed: bool = Field(
        False,
        description="Solved output weights of a pair of units are opposite: what is read is the coefficient, not how "
        "much it varies",
    )
    input_threshold: float | None = Field(
        None,
        ge=CODED[0],
        le=CODED[1],
        description="Change of a value of the scaled input from which on it is sent again (sigma-delta coding); null: "
        "all are sent at each step",
    )
    memory_threshold: float | None = Field(
        None,
        ge=CODED[0],
        le=CODED[1],
        description="The same for a coefficient of the memory, on its way to hidden units",
    )

    @model_validator(mode="after")
    def _opposed_are_pairs(self) -> Self:
        if self.opposed and (self.encoders == "random" or self.units % 2):
            raise ValueError("opposed: needs units in pairs: encoders 'on_off' or 'selected', an even number of units")
        return self


class MeanPoolSettings(ModelSettings):
    """Logistic regression on the running mean of features."""

    type: Literal["mean_pool"] = Field("mean_pool", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.mean_pool:MeanPool"


class LSTMSettings(ModelSettings):
    """Long short-term memory."""

    type: Literal["lstm"] = Field("lstm", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.lstm:LSTM"
    small: ClassVar[Mapping[str, Any]] = {"units": 2}
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    layers: int = Field(3, ge=1, le=1000, description="Stacked LSTM layers")
    units: int = Field(512, ge=1, le=10**6, description="Units of each LSTM layer")
    readout_units: int = Field(256, ge=1, le=10**6, description="Units of the ReLU layer after the last LSTM layer")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped, one draw a clip")
    input_noise: float = Field(0.0, ge=0, description="Deviation of noise on the scaled input, one draw a clip")
    dropout: float = Field(0.3, ge=0, lt=1, description="Share dropped between LSTM layers and before the logits")


class LMUSettings(ReaderSettings):
    """Legendre Memory Unit."""

    type: Literal["lmu"] = Field("lmu", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.lmu:LMU"
    activation: Literal["tanh", "relu"] = Field("tanh", description="Of the hidden units")
    hidden_to_memory: bool = Field(False, description="The hidden units also write into the memory")
    memory_to_memory: bool = Field(False, description="The memory also writes into itself, trained")
    hidden_recurrence: bool = Field(False, description="The hidden units also see themselves one step before")

    @model_validator(mode="after")
    def _loop_is_tanh(self) -> Self:
        feeds_back = self.hidden_to_memory or self.memory_to_memory or self.hidden_recurrence
        if feeds_back and self.activation != "tanh":
            raise ValueError(f"activation: {self.activation!r} goes without feedback only; 'tanh' bounds a loop")
        for name in ("input_threshold", "memory_threshold"):
            if feeds_back and getattr(self, name) is not None:
                raise ValueError(f"{name}: goes without feedback into memory or hidden units only")
        return self


class StackedLMUSettings(MemorySettings):
    """Stacked parallel Legendre Memory Units."""

    type: Literal["stacked_lmu"] = Field("stacked_lmu", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.stacked_lmu:StackedLMU"
    units: int = Field(128, ge=2, le=10**6, description="Hidden units of each block, and values that the next one gets")
    layers: int = Field(2, ge=1, le=1000, description="Blocks; together they remember 'layers' times 'theta' steps")
    input_to_hidden: bool = Field(True, description="The hidden units of a block also see its input")
    dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Share of hidden units dropped, in each block and before the logits; one draw a clip",
    )


class SpikingLMUSettings(ReaderSettings):
    """Spiking Legendre Memory Unit."""

    type: Literal["spiking_lmu"] = Field("spiking_lmu", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.spiking_lmu:SpikingLMU"
    normalize: bool = Field(True, description="Each step's scaled input is divided by its root mean square")
    neuron: Annotated[NeuronSettings, Registered("neuron")] = Field(
        SpikingRectifiedLinearSettings(initial_voltage="uniform"),
        description="Of all populations; initial_voltage 'uniform' keeps units from spiking all at once",
    )
    gradient: Gradient = Field(
        "surrogate", description="How gradients pass the spikes: see docs/explanation/neurons.md"
    )
    max_rates: tuple[float, float] = Field((50.0, 150.0), description="Range of rates of hidden units, spikes a second")
    intercepts: tuple[float, float] = Field(
        (-0.5, 0.5), description="Range of values where hidden units begin to spike"
    )
    tau_readout: float = Field(0.02, gt=0, description="Leak of the logits in seconds")
    spiking_input: bool = Field(False, description="What is remembered is decoded from spiking ensembles")
    spiking_memory: bool = Field(False, description="The memory itself is carried by spiking ensembles")
    ensemble_neurons: int = Field(20, ge=2, le=10**4, description="Neurons of each ensemble of input and memory")
    ensemble_rates: tuple[float, float] = Field((200.0, 400.0), description="Range of their rates at 'radius'")
    radius: float = Field(3.0, gt=0, description="Largest value for which ensembles are solved")
    tau_memory: float = Field(0.1, gt=0, description="Synapse of the spiking memory in seconds")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("max_rates", "ensemble_rates"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= HIGHEST_RATE:
                raise ValueError(f"{name}: must be two rates above 0 and up to {HIGHEST_RATE:g}, the lower first")
        if not -1 <= self.intercepts[0] <= self.intercepts[1] < 1:
            raise ValueError("intercepts: must be two values in [-1, 1), the lower first")
        if self.spiking_memory and self.memory_threshold is not None:
            raise ValueError("memory_threshold: a memory of spikes (spiking_memory) sends spikes already")
        return self


class EnsembleArraySettings(ModelSettings):
    """Array of spiking ensembles."""

    type: Literal["ensemble_array"] = Field("ensemble_array", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.ensemble_array:EnsembleArray"
    small: ClassVar[Mapping[str, Any]] = {"n_ensembles": 1}
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    normalize: bool = Field(False, description="Each step's scaled input is divided by its root mean square")
    n_ensembles: int = Field(1000, ge=1, le=10**7, description="Ensembles, each for one value")
    dimensions: int = Field(1, ge=1, le=16, description="Numbers of a value")
    n_neurons: int = Field(50, ge=1, le=10**4, description="Neurons of each ensemble")
    neuron: Annotated[NeuronSettings, Registered("neuron")] = Field(
        SpikingRectifiedLinearSettings(), description="Of all ensembles"
    )
    gradient: Gradient = Field(
        "spike_aware", description="How gradients pass the spikes: see docs/explanation/neurons.md"
    )
    max_rates: tuple[float, float] = Field((200.0, 400.0), description="Range of rates at value 1, spikes a second")
    intercepts: tuple[float, float] = Field((-1.0, 0.9), description="Range of values where neurons begin to spike")
    function: FunctionName = Field(
        "identity", description="What decoders stand for at the start; 'product': of a value's numbers"
    )
    trained: tuple[Part, ...] = Field(("gain", "bias", "decoders"), description="Parts that learn; others stay")
    tau_input: float | None = Field(0.005, gt=0, description="Lowpass on the input in seconds; null: none")
    input_weights: Literal["random", "zero"] = Field("random", description="Input weights at the start")
    readout: Readout = Field(
        "random",
        description="Output weights at the start: drawn, or solved by a regression on what ensembles stand for",
    )
    readout_strength: float = Field(0.3, gt=0, description="L2 strength of the solved output weights")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped, one draw a clip")
    input_noise: float = Field(0.0, ge=0, description="Deviation of noise on the scaled input, one draw a clip")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of ensembles dropped before the logits")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.max_rates[0] <= self.max_rates[1] <= HIGHEST_RATE:
            raise ValueError(f"max_rates: must be two rates above 0 and up to {HIGHEST_RATE:g}, the lower first")
        if not -1 <= self.intercepts[0] <= self.intercepts[1] < 1:
            raise ValueError("intercepts: must be two values in [-1, 1), the lower first")
        if self.function == "product" and self.dimensions == 1:
            raise ValueError("function: a product needs dimensions of 2 or more")
        return self


class LateFusionSettings(ModelSettings):
    """A model for each stream, their logits averaged."""

    type: Literal["late_fusion"] = Field("late_fusion", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.late_fusion:LateFusion"
    model: Annotated[ModelSettings, Registered("model")] = Field(
        MeanPoolSettings(), description="The model that each stream has one of"
    )
    streams: int = Field(2, ge=1, le=16, description="Streams of the input, of equal size: as many as clip.streams")
    weights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] | None = Field(
        None, description="Weight of each stream; null: found on validation clips, equal where there are none"
    )

    def shrink(self) -> Self:
        """One stream of a small model."""
        return self.model_copy(update={"streams": 1, "weights": None, "model": self.model.shrink()})

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if self.inputs != ("features",):
            raise ValueError("inputs: of a stream's own model: set them in model.model")
        if self.weights is not None and (len(self.weights) != self.streams or not sum(self.weights) > 0):
            raise ValueError(f"weights: one for each of {self.streams} streams, not all of them 0")
        return self
