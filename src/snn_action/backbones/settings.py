"""What may be set about a backbone."""

from typing import Literal

from pydantic import Field

from snn_action.core.registry import Settings


class BackboneSettings(Settings):
    """The network that turns a frame into a vector of features."""

    name: str = Field("mobilenet_v2", description="'tiny', 'res_cnn_encoder' or a torchvision classifier")
    weights: str = Field("default", description="'default' (download), 'random', or a .pth or .safetensors file")
    batch_size: int = Field(32, ge=1, le=10**6, description="Frames that go through the network at once")
    precision: Literal["32", "bf16"] = Field("32", description="Arithmetic of the network")
