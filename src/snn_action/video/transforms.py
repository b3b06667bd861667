"""From decoded frames to what a backbone sees."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.core.compat import import_torchvision

TRANSFORM_VERSION = "1"


def resize(frames: npt.NDArray[np.uint8], size: int) -> Tensor:
    """Frames ``(T, H, W, C)`` uint8 as ``(T, C, size, size)`` uint8, bilinear and antialiased, channels last in memory.

    The whole field is kept and stretched to a square, as in the original project.
    """
    import_torchvision()
    from torchvision.transforms.v2 import functional

    images = torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(0, 3, 1, 2)
    resized: Tensor = functional.resize(images, [size, size], antialias=True)
    return resized


def normalize(clip: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(clip / 255 - mean) / std`` for each channel: ``(..., C, S, S)`` uint8 to float32, channels last in memory."""
    deviation = torch.tensor(std, dtype=torch.float32, device=clip.device)
    shift = torch.tensor(mean, dtype=torch.float32, device=clip.device) / deviation
    images = clip.movedim(-3, -1).to(torch.float32, copy=True).contiguous()
    width = images.shape[-2]
    # whole lines of pixels: over three channels alone the vector units would stand idle
    images.view(-1, width * len(std)).div_(deviation.mul(255).repeat(width)).sub_(shift.repeat(width))
    return images.movedim(-1, -3)


def difference_image(later: npt.NDArray[np.uint8], earlier: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What moves: ``clip(128 + 2 (later - earlier), 0, 255)``, uint8 in the shape of both; 128 where nothing does."""
    change = later.astype(np.int16) - earlier
    image: npt.NDArray[np.uint8] = np.clip(128 + 2 * change, 0, 255).astype(np.uint8)
    return image
