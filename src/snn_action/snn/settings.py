"""What may be set about neurons, memories and ensembles; without PyTorch, so that a configuration is read at once."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from snn_action.core.registry import ItemSettings, Kind, Registered

if TYPE_CHECKING:
    from snn_action.snn.neurons.base import Neuron

Gradient = Literal["rate", "spike_aware", "surrogate"]
SurrogateName = Literal["arctan", "sigmoid", "triangle", "super_spike", "multi_gaussian"]
Reset = Literal["soft", "hard"]
Discretizer = Literal["zoh", "euler"]
Trained = Literal["none", "matrices", "theta"]
FunctionName = Literal["identity", "square", "absolute", "product"]
# range of a configuration's theta: beyond, single precision does not carry its matrices
THETA = 1e-3, 1e9
HIGHEST_RATE = 1e9  # spikes a second of `max_rates`, far above all use and far below what overflows
# range of a threshold of sigma-delta coding: beyond, a value by one, or a multiple of one, may leave single precision
CODED = 1e-20, 1e20
THRESHOLD = 30.0  # of Izhikevich's neuron, in mV


class NeuronSettings(ItemSettings):
    """What every neuron can be asked."""

    kind: ClassVar[Kind] = "neuron"
    type: str = Field(description="Which neuron this is")
    dt: float = Field(0.001, gt=0, description="Length of a time step in seconds")
    spiking: ClassVar[bool] = True

    def build(self, gradient: Gradient | None = None) -> "Neuron":
        """The neuron with one of its gradient modes; None: ``spike_aware``, or the first that it has.

        Raises:
            ConfigError: the neuron has no such gradient mode.
        """
        neuron: Neuron = self.load()(settings=self, gradient=gradient)
        return neuron


class SpikingSettings(NeuronSettings):
    """What every neuron with a membrane can be asked."""

    amplitude: float = Field(1.0, gt=0, description="Area of one spike")
    initial_voltage: Literal["zero", "uniform"] = Field(
        "zero", description="Voltage at a clip's start; 'uniform': each neuron its own in [0, 1), drawn from 'seed'"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Of everything that the neuron draws")
    surrogate: SurrogateName = Field("arctan", description="Derivative of a spike in gradient mode 'surrogate'")


class LIFRateFamilySettings(NeuronSettings):
    """What the rate neurons of the LIF family share."""

    spiking: ClassVar[bool] = False
    tau_rc: float = Field(0.02, ge=1e-9, description="Time constant of the membrane in seconds")
    tau_ref: float = Field(0.002, ge=0, description="Refractory time after a spike in seconds")
    amplitude: float = Field(1.0, gt=0, description="Factor of the output")


class LIFFamilySettings(SpikingSettings):
    """What the spiking neurons of the LIF family share."""

    tau_rc: float = Field(0.02, ge=1e-9, description="Time constant of the membrane in seconds")
    tau_ref: float = Field(0.002, ge=0, description="Refractory time after a spike in seconds")
    min_voltage: float = Field(0.0, le=0, description="Floor of the voltage, in units of the threshold")
    rate_sigma: float = Field(
        0.02,
        ge=0,
        description="Modes 'rate' and 'spike_aware': the derivative is that of soft_lif_rate with this sigma, while "
        "rates stay exact; 0: the exact derivative, which has no bound near the threshold and is zero below it",
    )


class SpikingRectifiedLinearSettings(SpikingSettings):
    """Spiking rectified linear neuron."""

    type: Literal["spiking_rectified_linear"] = Field("spiking_rectified_linear", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.spiking_rectified_linear:SpikingRectifiedLinear"


class RectifiedLinearSettings(NeuronSettings):
    """Rectified linear rate neuron."""

    spiking: ClassVar[bool] = False
    type: Literal["rectified_linear"] = Field("rectified_linear", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.rectified_linear:RectifiedLinear"
    amplitude: float = Field(1.0, gt=0, description="Factor of the output")


class LIFSettings(LIFFamilySettings):
    """Spiking leaky integrate-and-fire neuron."""

    type: Literal["lif"] = Field("lif", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.lif:LIF"


class LIFRateSettings(LIFRateFamilySettings):
    """Leaky integrate-and-fire rate neuron."""

    type: Literal["lif_rate"] = Field("lif_rate", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.lif_rate:LIFRate"


class SoftLIFRateSettings(LIFRateFamilySettings):
    """Leaky integrate-and-fire rate neuron with a smoothed threshold."""

    type: Literal["soft_lif_rate"] = Field("soft_lif_rate", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.soft_lif_rate:SoftLIFRate"
    sigma: float = Field(1.0, gt=0, description="Width of the smoothed threshold, in units of the current")


class AdaptiveLIFSettings(LIFFamilySettings):
    """Spiking leaky integrate-and-fire neuron with adaptation."""

    type: Literal["adaptive_lif"] = Field("adaptive_lif", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.adaptive_lif:AdaptiveLIF"
    tau_n: float = Field(1.0, gt=0, description="Time constant of the adaptation in seconds")
    inc_n: float = Field(0.01, ge=0, description="Adaptation that an output of 1 a second settles at")

    @model_validator(mode="after")
    def _stable(self) -> Self:
        check_adaptation(self.tau_n, self.dt)
        return self


class AdaptiveLIFRateSettings(LIFRateFamilySettings):
    """Leaky integrate-and-fire rate neuron with adaptation."""

    type: Literal["adaptive_lif_rate"] = Field("adaptive_lif_rate", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.adaptive_lif_rate:AdaptiveLIFRate"
    tau_n: float = Field(1.0, gt=0, description="Time constant of the adaptation in seconds")
    inc_n: float = Field(0.01, ge=0, description="Adaptation that an output of 1 a second settles at")

    @model_validator(mode="after")
    def _stable(self) -> Self:
        check_adaptation(self.tau_n, self.dt)
        return self


class IzhikevichSettings(NeuronSettings):
    """Izhikevich neuron; the defaults are a regular spiking one."""

    type: Literal["izhikevich"] = Field("izhikevich", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.izhikevich:Izhikevich"
    tau_recovery: float = Field(0.02, gt=0, description="Share of the way that the recovery goes in a millisecond")
    coupling: float = Field(0.2, ge=0, description="Recovery a millivolt to which the voltage draws it")
    reset_voltage: float = Field(-65.0, lt=THRESHOLD, description="Voltage after a spike, in mV")
    reset_recovery: float = Field(8.0, description="What a spike adds to the recovery")
    surrogate: SurrogateName = Field("arctan", description="Derivative of a spike in gradient mode 'surrogate'")

    @model_validator(mode="after")
    def _stable(self) -> Self:
        if not self.tau_recovery * 1000 * self.dt < 2:
            raise ValueError(
                f"tau_recovery: must be below {0.002 / self.dt:g}, twice the whole way in a step of {self.dt:g} s, "
                f"or the recovery grows without end; not {self.tau_recovery:g}"
            )
        return self


class RegularSpikingSettings(SpikingSettings):
    """Regular spikes from a rate curve."""

    type: Literal["regular_spiking"] = Field("regular_spiking", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.regular_spiking:RegularSpiking"
    rate_function: Literal["relu", "tanh", "sigmoid", "lif_rate"] = Field("relu", description="Current to rate")
    tau_ref: float = Field(0.0025, gt=0, description="Seconds; 1 / tau_ref is the highest rate, relu aside")
    tau_rc: float = Field(0.02, ge=1e-9, description="Membrane time constant of lif_rate in seconds")


class RandomSpikingSettings(NeuronSettings):
    """What random spiking neurons share."""

    amplitude: float = Field(1.0, gt=0, description="Area of one spike")
    seed: int = Field(0, ge=0, lt=2**32, description="Of everything that the neuron draws")
    base: Annotated[NeuronSettings, Registered("neuron")] = Field(
        RectifiedLinearSettings(), description="Rate neuron whose rate, in spikes a second, is drawn from"
    )

    @model_validator(mode="before")
    @classmethod
    def _share_dt(cls, values: Any) -> Any:
        """A base that does not say its ``dt`` has that of the neuron."""
        if not isinstance(values, Mapping) or "dt" not in values:
            return values
        dt, base = values["dt"], values.get("base", {"type": "rectified_linear"})
        if not isinstance(base, Mapping) or "dt" in base:
            return values
        if not isinstance(dt, int | float) or not 0 < dt < math.inf:
            return values  # the error of ``dt`` itself is enough
        return {**values, "base": {**base, "dt": dt}}

    @model_validator(mode="after")
    def _check_base(self) -> Self:
        if self.base.spiking:
            raise ValueError(f"base: must be a rate neuron such as rectified_linear, but {self.base.type} spikes")
        if self.base.dt != self.dt:
            raise ValueError(f"base.dt: must be dt = {self.dt:g}, not {self.base.dt:g}")
        return self


class StochasticSpikingSettings(RandomSpikingSettings):
    """Spikes by stochastic rounding of a rate."""

    type: Literal["stochastic_spiking"] = Field("stochastic_spiking", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.stochastic_spiking:StochasticSpiking"


class PoissonSpikingSettings(RandomSpikingSettings):
    """Spikes of a Poisson process."""

    type: Literal["poisson_spiking"] = Field("poisson_spiking", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.poisson_spiking:PoissonSpiking"


class IntegrateAndFireSettings(SpikingSettings):
    """Integrate-and-fire neuron without leak."""

    type: Literal["if"] = Field("if", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.integrate_and_fire:IntegrateAndFire"
    reset: Reset = Field("soft", description="After a spike: 'soft' takes 1 from the voltage, 'hard' makes it 0")


class ParametricLIFSettings(SpikingSettings):
    """Leaky integrate-and-fire neuron whose time constant is learned."""

    type: Literal["plif"] = Field("plif", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.parametric_lif:ParametricLIF"
    tau: float = Field(0.02, description="Time constant of the membrane in seconds, at first; above dt")
    learnable: bool = Field(True, description="Learn the time constant, one of the layer")
    reset: Reset = Field("hard", description="After a spike: 'hard' makes the voltage 0, 'soft' takes 1 from it")

    @model_validator(mode="after")
    def _slower_than_a_step(self) -> Self:
        if not self.tau > self.dt:
            raise ValueError(f"tau: must be above dt = {self.dt:g}, not {self.tau:g}")
        return self


class SlidingPSNSettings(NeuronSettings):
    """Sliding parallel spiking neuron."""

    type: Literal["sliding_psn"] = Field("sliding_psn", description="Which neuron this is")
    builds: ClassVar[str] = "snn_action.snn.neurons.sliding_psn:SlidingPSN"
    amplitude: float = Field(1.0, gt=0, description="Area of one spike")
    order: int = Field(4, ge=1, le=10**4, description="Steps in the window, the present one among them")
    surrogate: SurrogateName = Field("arctan", description="Derivative of a spike in gradient mode 'surrogate'")


def check_adaptation(tau_n: float, dt: float) -> None:
    """Check that ``adapt`` comes to rest.

    Raises:
        ValueError: ``tau_n`` is half of ``dt`` or less.
    """
    if not tau_n > dt / 2:
        raise ValueError(
            f"tau_n: must be above dt / 2 = {dt / 2:g}, or the adaptation grows without end; not {tau_n:g}"
        )
