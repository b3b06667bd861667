"""What may be set about a model that is trained from frames; without PyTorch, as ``settings``."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from snn_action.core.registry import Registered
from snn_action.core.settings import Settings
from snn_action.models.settings import LMUSettings, ModelSettings

if TYPE_CHECKING:
    from snn_action.models.base import TemporalModel
    from snn_action.models.encoder import Encoder


class RateSettings(Settings):
    """Learning rates of parts, as factors of ``training.learning_rate``."""

    backbone: float = Field(1.0, gt=0, description="Of the backbone's trained layers")
    head: float = Field(1.0, gt=0, description="Of the layers of 'head'")
    model: float = Field(1.0, gt=0, description="Of the temporal model")


class EndToEndSettings(ModelSettings):
    """Backbone and temporal model, trained together from frames."""

    type: Literal["end_to_end"] = Field("end_to_end", description="Which model this is")
    builds: ClassVar[str] = "snn_action.models.end_to_end:EndToEnd"
    model: Annotated[ModelSettings, Registered("model")] = Field(
        LMUSettings(), description="The temporal model behind the backbone"
    )
    train_from: str = Field(
        "all",
        min_length=1,
        description="First layer of the backbone that learns, 'all' or 'head'; what is before it is frozen, and its "
        "activations are kept in the feature store",
    )
    head: tuple[Annotated[int, Field(ge=1, le=10**6)], ...] = Field(
        (), max_length=16, description="Units of new layers between backbone and temporal model, ReLU between them"
    )
    rates: RateSettings = Field(RateSettings(), description="Learning rates of parts")
    batch_norm: Literal["frozen", "trained"] | None = Field(
        None, description="Statistics of the backbone's batch normalization; null: 'trained' where weights are random"
    )
    shift: float = Field(
        0.0, ge=0, le=1, description="Largest random shift of training frames, of their side; one draw a clip"
    )
    zoom: float = Field(
        0.0, ge=0, lt=1, description="Largest random change of the size of training frames, a share; one draw a clip"
    )
    recompute: bool = Field(
        False,
        description="Spare memory: forget activations of frames_together frames, compute them again for gradients",
    )
    frames_together: int = Field(64, ge=1, le=10**6, description="Frames that go through the backbone at once")

    def shrink(self) -> Self:
        """No layers, and a small temporal model."""
        return self.model_copy(update={"model": self.model.shrink(), "head": (), "train_from": "all"})

    def build(self, in_features: int, num_classes: int, encoder: "Encoder | None" = None) -> "TemporalModel":
        """As every model's, behind a copy of ``encoder``; None: features are given, in the place of frames."""
        model: TemporalModel = self.load()(in_features, num_classes, settings=self, encoder=encoder)
        return model

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.model, EndToEndSettings):
            raise ValueError("model: 'end_to_end' inside 'end_to_end' has no frames; name a temporal model")
        if self.inputs != ("features",):
            raise ValueError("inputs: of the temporal model: set them in model.model")
        if (self.shift or self.zoom) and self.train_from != "all":
            raise ValueError("shift, zoom: of frames, which only train_from 'all' gets; set them to 0")
        if self.train_from == "head" and not self.head:
            raise ValueError(
                "train_from: 'head' without layers in 'head' freezes everything before the temporal model: give head "
                "some units, name a layer of the backbone, or use the temporal model itself as model"
            )
        return self
