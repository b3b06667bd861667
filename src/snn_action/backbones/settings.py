"""What may be set about a backbone."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from snn_action.core.registry import ItemSettings, Kind, Registered
from snn_action.snn.settings import HIGHEST_RATE, Gradient, NeuronSettings, ParametricLIFSettings

if TYPE_CHECKING:
    from snn_action.backbones.base import Backbone

Engine = Literal["torch", "onnx"]


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
    engine: Engine = Field(
        "torch", description="What runs the network: PyTorch, or ONNX Runtime (extra 'onnx'), faster on processors"
    )
    coding: Literal["none", "sigma_delta"] = Field(
        "none",
        description="'sigma_delta': layers send changes from frame to frame, as a chip for spikes would run them",
    )
    thresholds: str | None = Field(
        None,
        min_length=1,
        description="File of thresholds for the coding (snn-action calibrate-coding); null: 0, every change is sent",
    )
    builds: ClassVar[str] = "snn_action.backbones.torchvision_models:build"

    @model_validator(mode="after")
    def _engine_and_coding_are_exact(self) -> Self:
        if self.engine == "onnx" and self.precision != "32":
            raise ValueError(f"engine: 'onnx' computes in precision '32', not {self.precision!r}")
        if self.coding == "none":
            if self.thresholds is not None:
                raise ValueError("thresholds: they need coding: 'sigma_delta'")
        elif self.engine != "torch" or self.precision != "32":
            raise ValueError("coding: 'sigma_delta' runs with engine 'torch' in precision '32'")
        return self

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


class TimmSettings(BackboneSettings):
    """A model of timm, without its classifier."""

    name: Literal["timm"] = Field("timm", description="Which backbone this is")
    model: str = Field(
        "mobilenetv4_conv_small.e2400_r224_in1k",
        min_length=1,
        description="Name in timm, with the tag of its weights after a dot; without one timm chooses",
    )
    builds: ClassVar[str] = "snn_action.backbones.timm_models:build"


class TransformersSettings(BackboneSettings):
    """An encoder of images or videos from the Hugging Face hub: CLIP, SigLIP, DINOv2, ViT, VideoMAE, V-JEPA 2."""

    name: Literal["transformers"] = Field("transformers", description="Which backbone this is")
    model: str = Field("facebook/dinov2-small", min_length=1, description="Name on the hub, owner/name")
    weights: str = Field(
        "default", description="'default' (download), 'random' (a small network of the family), or a folder"
    )
    builds: ClassVar[str] = "snn_action.backbones.transformers_models:build"


class SpikingCNNSettings(BackboneSettings):
    """A small convolutional network of spiking neurons, to be trained end to end."""

    name: Literal["spiking_cnn"] = Field("spiking_cnn", description="Which backbone this is")
    weights: str = Field(
        "random",
        description="'random', 'default' (learned on generated figures, for the generated videos; of the default "
        "channels, blocks and neuron), or a .pth or .safetensors file",
    )
    channels: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (16, 32, 64), min_length=1, max_length=6, description="Channels of each stage; each halves the sides"
    )
    blocks: int = Field(1, ge=1, le=64, description="Residual blocks of each stage")
    pool: int = Field(4, ge=1, le=64, description="Side of the grid of fields over which the last spikes are averaged")
    neuron: Annotated[NeuronSettings, Registered("neuron")] = Field(
        ParametricLIFSettings(tau=0.002), description="Of all layers"
    )
    gradient: Gradient = Field(
        "surrogate", description="How gradients pass the spikes: see docs/explanation/neurons.md"
    )
    max_rate: float | None = Field(
        None,
        gt=0,
        le=HIGHEST_RATE,
        description="Spikes a second of a neuron whose normalized input is 1; null: that input is the current itself, "
        "which suits neurons with a threshold of 1 that integrate in a few steps",
    )
    intercept: float = Field(
        0.0, ge=-1, lt=1, description="With max_rate: normalized input where neurons begin to spike"
    )
    size: int = Field(64, ge=16, le=2048, description="Side of its images, where clip.size does not say otherwise")
    window: int = Field(8, ge=1, le=1024, description="Images that it sees at once where it is not trained end to end")
    builds: ClassVar[str] = "snn_action.backbones.spiking_cnn:build"
