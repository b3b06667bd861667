"""What may be set about a backbone."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from snn_action.core.registry import ItemSettings, Kind

if TYPE_CHECKING:
    from snn_action.backbones.base import Backbone


class BackboneSettings(ItemSettings):
    """The network that turns a frame, or a window of frames, into a vector of features."""

    kind: ClassVar[Kind] = "backbone"
    name: str = Field(
        "mobilenet_v2", description="'tiny', 'res_cnn_encoder' or a classifier of torchvision, of images or of videos"
    )
    weights: str = Field("default", description="'default' (download), 'random', or a .pth or .safetensors file")
    batch_size: int = Field(
        32, ge=1, le=10**6, description="Frames, or windows of frames, that go through the network at once"
    )
    precision: Literal["32", "bf16"] = Field("32", description="Arithmetic of the network")
    builds: ClassVar[str] = "snn_action.backbones.torchvision_models:build"

    def build(self, seed: int = 0) -> "Backbone":
        """The backbone with its weights; ``seed`` draws those of ``weights: "random"``.

        Raises:
            ConfigError: no backbone has that name, or its weights cannot be read or do not fit.
            WorkError: weights cannot be downloaded.
        """
        backbone: Backbone = self.load()(self, seed)
        return backbone


class TinySettings(BackboneSettings):
    """The small CNN of the synthetic set, its weights shipped with the package."""

    name: Literal["tiny"] = Field("tiny", description="Which backbone this is")
    builds: ClassVar[str] = "snn_action.backbones.tiny:build"
