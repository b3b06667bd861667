"""A small convolutional network of spiking neurons, with residual blocks as in SEW-ResNet (Fang et al. 2021).

    z_t = BN(W * x_t)                            x_t: normalized image, or spikes of the layers before
    s_t = neuron(g z_t + b), counted             g = 1, b = 0; with ``max_rate`` so that z = 1 gives so many spikes a
                                                 second, and z = ``intercept`` is the threshold
    block:  out_t = s2_t(s1_t(x_t)) + x_t        spike-element-wise ADD; where the size changes, x_t through a layer too

All but the first layer see spikes alone, of which a block may hand on more than one a neuron and step. The features are
the last block's spikes, averaged over ``pool x pool`` fields. Neurons keep their state from frame to frame.

Batch normalization is folded into the weights in evaluation mode:

    W' = W gamma / sqrt(var + eps),  b' = beta - mean gamma / sqrt(var + eps)

As a frozen backbone, whose features must not depend on what came before, it sees the last ``window`` images of a clip
from rest, and the feature is the mean over them. In an ``end_to_end`` model its state runs through the whole clip.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.backbones.base import Backbone
from snn_action.backbones.settings import SpikingCNNSettings
from snn_action.backbones.spiking_layers import LayerState, SpikingLayer, spread
from snn_action.backbones.weights import load_weights, read_provenance, read_weights, seeded
from snn_action.core.errors import ConfigError
from snn_action.models.encoder import Encoder, join_clips, take_clips
from snn_action.models.populations import Population, Synapses
from snn_action.snn.counting import count_spiking, is_counting

WEIGHTS = Path(__file__).with_name("weights") / "spiking_cnn.safetensors"
LEARNED_WITH = ("channels", "blocks", "neuron", "max_rate", "intercept")  # settings that shipped weights belong to
MEAN = STD = (0.5, 0.5, 0.5)
STEM, SIDE = 5, 3  # sides of the kernels
DRAWN, FRAMES = 4, 4  # images by which drawn networks are normalized, each shown so often


class Shape(NamedTuple):
    """Of a layer's output."""

    channels: int
    side: int


class SpikingCNN(Encoder):
    """The network of the module: frames ``(B, T, D)`` to features ``(B, T, E)``.

    Args:
        settings: Of the backbone.
        is_drawn: Its weights are drawn, not learned.
    """

    def __init__(self, settings: SpikingCNNSettings, *, is_drawn: bool = True) -> None:
        s = settings
        super().__init__((3, s.size, s.size), s.channels[-1] * s.pool**2, mean=MEAN, std=STD, is_drawn=is_drawn)
        self.settings = s
        self.layers = nn.ModuleDict()
        self.blocks: list[tuple[str, str, str | None]] = []  # two layers, and the shortcut's where the size changes
        self._add("stem", 3, s.channels[0], STEM, 2)
        inputs = s.channels[0]
        for stage, outputs in enumerate(s.channels):
            for block in range(s.blocks):
                stride = 2 if stage and not block else 1
                name, changes = f"stage{stage + 1}_block{block + 1}", stride > 1 or inputs != outputs
                self._add(f"{name}_1", inputs, outputs, SIDE, stride)
                self._add(f"{name}_2", outputs, outputs, SIDE, 1)
                if changes:
                    self._add(f"{name}_shortcut", inputs, outputs, 1, stride)
                self.blocks.append((f"{name}_1", f"{name}_2", f"{name}_shortcut" if changes else None))
                inputs = outputs
        self.lay_out(s.size)

    def _add(self, name: str, inputs: int, outputs: int, side: int, stride: int) -> None:
        self.layers[name] = SpikingLayer(inputs, outputs, side, stride, len(self.layers), self.settings)

    def _find(self, name: str) -> SpikingLayer:
        layer = self.layers[name]
        assert isinstance(layer, SpikingLayer)
        return layer

    def lay_out(self, size: int) -> None:
        """Take images of side ``size`` from now on.

        Raises:
            ConfigError: they are too small.
        """
        least = 2 ** len(self.settings.channels) * self.settings.pool
        if size < least:
            raise ConfigError(
                f"clip.size: images of side {size} are too small for backbone.channels "
                f"{list(self.settings.channels)} and backbone.pool {self.settings.pool}: at least {least}"
            )
        self.shape = (3, size, size)
        side = self._find("stem").part.shrink(size)
        self._shapes = {"stem": Shape(self.settings.channels[0], side)}
        for first, second, shortcut in self.blocks:
            side = self._find(first).part.shrink(side)
            for name in (first, second, shortcut):
                if name is not None:
                    self._shapes[name] = Shape(self._find(name).part.convolution.out_channels, side)
        spiking = self._find("stem").neuron.spiking
        self.populations = self._count_populations() if spiking else ()
        self.synapses = self._count_synapses() if spiking else ()

    def _count_synapses(self) -> tuple[Synapses, ...]:
        """Of each convolution but the first, and of the fields that features are means over: each once.

        A convolution sees the sum of the spikes that shortcuts lead to it.
        """
        found = []

        def lead(sources: Sequence[str], name: str) -> None:
            (inputs, before), (outputs, after) = self._shapes[sources[0]], self._shapes[name]
            kernel = self._find(name).part.convolution.weight
            sizes = inputs * before**2, outputs * after**2, kernel.numel() * after**2
            found.append(Synapses(name, tuple(sources), *sizes, kernel.numel()))

        sources = ["stem"]
        for first, second, shortcut in self.blocks:
            lead(sources, first)
            lead([first], second)
            if shortcut is not None:
                lead(sources, shortcut)
                sources = [shortcut]
            sources = [*sources, second]
        channels, side = self._shapes[sources[0]]
        inputs = channels * side**2
        found.append(Synapses("features", tuple(sources), inputs, self.feature_dim, inputs, 0))
        return tuple(found)

    def _count_populations(self) -> tuple[Population, ...]:
        """Each layer's neurons, and the synapses that a spike of theirs meets on average."""
        fan_out = dict.fromkeys(self._shapes, 0.0)
        for synapses in self._count_synapses():
            for source in synapses.sources:
                fan_out[source] += synapses.fan_out
        shapes = self._shapes.items()
        return tuple(Population(name, channels * side**2, round(fan_out[name])) for name, (channels, side) in shapes)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> tuple[LayerState, ...]:
        """Neurons at rest, no spike yet."""
        states = []
        for name, (channels, side) in self._shapes.items():
            neurons = self._find(name).neuron.initial_state(batch, (side, side, channels), device, dtype)
            states.append(LayerState(neurons, torch.zeros(batch, device=device, dtype=dtype)))
        return tuple(states)

    def forward(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """See the contract; some clips and steps after others where memory is to be spared."""
        batch, steps = x.shape[:2]
        if self.training and not self.recompute:
            return self._run(x, state, mask)
        rows = max(1, self.frames_together // steps)
        width = min(steps, max(1, self.frames_together // rows))
        found, states = [], []
        for first in range(0, batch, rows):
            part, own = slice(first, first + rows), take_clips(state, slice(first, first + rows))
            pieces = []
            for begin in range(0, steps, width):
                real = None if mask is None else mask[part, begin : begin + width]
                piece, own = self.run_part(self._run, x[part, begin : begin + width], own, real)
                pieces.append(piece)
            found.append(torch.cat(pieces, 1))
            states.append(own)
        return torch.cat(found), join_clips(states)

    def _run(self, x: Tensor, state: tuple[LayerState, ...], mask: Tensor | None) -> tuple[Tensor, Any]:
        if mask is not None and not bool(mask.any()):
            return x.new_zeros(*x.shape[:2], self.feature_dim), state
        return self.see(self.normalize(x.flatten(0, 1) if mask is None else x[mask]), state, mask)

    def see(self, frames: Tensor, state: tuple[LayerState, ...], mask: Tensor | None) -> tuple[Tensor, Any]:
        """``forward`` of real, normalized frames ``(N, 3, H, W)`` alone, a clip's after each other."""
        states = dict(zip(self._shapes, state, strict=True))

        def through(name: str, given: Tensor) -> Tensor:
            spikes: Tensor
            spikes, states[name] = self._find(name)(given, states[name], mask, name != "stem")
            return spikes

        y = through("stem", frames.contiguous(memory_format=torch.channels_last))
        for first, second, shortcut in self.blocks:
            y = through(second, through(first, y)) + (y if shortcut is None else through(shortcut, y))
        features = F.adaptive_avg_pool2d(y, self.settings.pool).flatten(1)
        return spread(features, len(state[0].spikes), mask), tuple(states.values())


class OfWindows(nn.Module):
    """The network on windows ``(N, W, 3, S, S)`` of normalized images, from rest: mean features ``(N, E)``."""

    def __init__(self, encoder: SpikingCNN) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, windows: Tensor) -> Tensor:
        """See the class; a window of one image may be that image."""
        windows = windows if windows.ndim == 5 else windows.unsqueeze(1)
        if windows.shape[-1] != self.encoder.shape[-1]:
            self.encoder.lay_out(windows.shape[-1])
        state = self.encoder.initial_state(len(windows), windows.device, windows.dtype)
        if not is_counting():
            return self.encoder.see(windows.flatten(0, 1), state, None)[0].mean(1)
        found = []
        for images in windows.unbind(1):  # each image is a step
            features, state = self.encoder.see(images, state, None)
            found.append(features)
        count_spiking(self.encoder, state, windows.shape[1])
        return torch.cat(found, 1).mean(1)


def build(settings: SpikingCNNSettings, seed: int) -> Backbone:
    """The network with random weights, those that come with the package (``"default"``), or those of a file.

    Raises:
        ConfigError: the weights cannot be read or do not fit.
    """
    is_drawn = settings.weights == "random"
    if settings.weights == "default":
        _check_default(settings)
    with seeded(seed):
        encoder = SpikingCNN(settings, is_drawn=is_drawn)
        if is_drawn:
            _wake(encoder)
    provenance: dict[str, object] = {"trained_on": "nothing", "seed": seed}
    if not is_drawn:
        path = WEIGHTS if settings.weights == "default" else Path(settings.weights)
        load_weights(encoder, read_weights(path), str(path))
        provenance = {"trained_on": "unknown", **read_provenance(path)}
    return Backbone(
        OfWindows(encoder),
        name="spiking_cnn",
        feature_dim=encoder.feature_dim,
        input_size=settings.size,
        mean=MEAN,
        std=STD,
        provenance=provenance,
        window=settings.window,
    )


def _check_default(settings: SpikingCNNSettings) -> None:
    """Nothing, where the shipped weights belong to these settings.

    Raises:
        ConfigError: they belong to others.
    """
    for key in LEARNED_WITH:
        fits = getattr(SpikingCNNSettings(), key)
        if getattr(settings, key) != fits:
            shown = fits.model_dump() if isinstance(fits, BaseModel) else fits
            raise ConfigError(
                f"backbone.weights: 'default' were learned with the default of backbone.{key}, {shown}: leave it out, "
                "or set weights to 'random' or to a file"
            )


@torch.no_grad()
def _wake(encoder: SpikingCNN) -> None:
    """Statistics of normalization from drawn images: with those of new layers hardly a spike gets to the last one."""
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean
    images = (2 * torch.rand(DRAWN, 1, *encoder.shape) - 1).expand(-1, FRAMES, -1, -1, -1)
    encoder.train().see(images.flatten(0, 1), encoder.initial_state(DRAWN, images.device, images.dtype), None)
    for norm in norms:
        norm.momentum = nn.BatchNorm2d(1).momentum
    encoder.eval()
