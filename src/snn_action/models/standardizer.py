"""Input of temporal models, scaled as the training set says."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.models.settings import Scaling


class InputStandardizer(nn.Module):
    """``(x - mean) / deviation`` over the training set's real steps; identity until fitted.

    The deviation is each feature's own (``"feature"``), or one for all (``"global"``: the root of the mean variance).
    The latter keeps features that hardly vary small. It matters for features that come out of a PCA, whose last
    components are noise: blown up, they let a small training set be told apart by noise alone. Of several inputs side
    by side (``inputs``), each has a deviation and a root mean square of its own.

    With ``normalize`` each step's result is then divided by its own root mean square over features, so that a frame of
    strong contrast counts no more than another.

    Attributes:
        centered: Of each input side by side, of equal size, whether its mean is subtracted.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, scaling: Scaling, normalize: bool = False) -> None:
        super().__init__()
        self.scaling = scaling
        self.normalize = normalize
        self.centered: tuple[bool, ...] = (True,)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def fit(self, features: Iterable[Tensor], mask: Iterable[Tensor]) -> None:
        """Set mean and scale from clips (T, D) where their masks (T,) are true; constant features keep 1.

        Clips are gone through twice, one at a time: the set in float64 may not fit.
        """
        masks = list(mask)
        count = sum(int(real.sum()) for real in masks)
        mean = torch.zeros_like(self.mean, dtype=torch.float64)
        variance = torch.zeros_like(mean)
        for clip, real in zip(features, masks, strict=True):
            mean += clip[real].sum(0, dtype=torch.float64) / count
        mean *= torch.tensor(self.centered, device=mean.device).repeat_interleave(len(mean) // len(self.centered))
        for clip, real in zip(features, masks, strict=True):
            variance += (clip[real].double() - mean).square().sum(0) / count
        if self.scaling == "global":
            variance = variance.view(len(self.centered), -1).mean(1).repeat_interleave(len(mean) // len(self.centered))
        deviation = torch.where(variance > 1e-16, variance.sqrt(), 1.0)
        self.mean = mean.to(self.mean)
        self.scale = deviation.reciprocal().to(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Standardize ``x`` (..., D)."""
        x = (x - self.mean) * self.scale
        if not self.normalize:
            return x
        blocks = x.reshape(*x.shape[:-1], len(self.centered), -1)
        return F.rms_norm(blocks, blocks.shape[-1:], eps=1e-6).flatten(-2)
