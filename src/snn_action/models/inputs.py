"""What every model can be given beside the features themselves: their changes, and their means over several times.

    features           x_t
    difference         x_t - x_{t-l}                         of each lag l; for a clip's first l steps 0
    second_difference  x_t - 2 x_{t-l} + x_{t-2l}            of each lag l; for a clip's first 2 l steps 0
    mean               (x_{t-w+1} + ... + x_t) / w           of each window w; at first, of the steps there are

They are put side by side, in the order in which they are named, and each is scaled by itself.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.models.differences import Past, join_past, start_past
from snn_action.models.settings import ModelSettings
from snn_action.snn.counting import count_elsewhere, count_updates

ORDERS = {"difference": 1, "second_difference": 2}


class SeenState(NamedTuple):
    """What was seen of the input, and the model's own state."""

    past: Past
    own: Any


class Inputs:
    """From features (B, T, D) to all that a model is given (B, T, ``blocks`` D).

    Attributes:
        blocks: Number of inputs side by side.
        centered: Which of them are not differences, whose mean means nothing.
        reach: Earlier steps that it looks back at.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.kinds, self.lags, self.windows = settings.inputs, settings.lags, settings.windows
        self.centered = tuple(kind not in ORDERS for kind in self._each())
        self.blocks = len(self.centered)
        lags = [order * lag for kind, order in ORDERS.items() for lag in self.lags if kind in self.kinds]
        self.reach = max([0, *lags, *(window - 1 for window in self.windows if "mean" in self.kinds)])

    @property
    def changes_nothing(self) -> bool:
        """Whether a model is given the features alone."""
        return self.kinds == ("features",)

    def start(self, batch: int, features: int, device: torch.device, dtype: torch.dtype) -> Past:
        """Nothing seen yet of ``features`` values."""
        return start_past(batch, self.reach, features, device, dtype)

    def expand(self, x: Tensor, past: Past, mask: Tensor | None) -> tuple[Tensor, Past]:
        """All inputs, zero on padded steps, and what was seen after each clip's last real step."""
        joined, seen, past = join_past(x, past, mask)
        steps = x.shape[1]
        found: list[Tensor] = []

        def look_back(by: int) -> Tensor:
            first = joined.shape[1] - steps - by
            return joined[:, first : first + steps]

        with count_elsewhere():
            for kind in self.kinds:
                if kind == "features":
                    found.append(x)
                elif kind == "mean":
                    found += [self._average(joined, seen, window, steps) for window in self.windows]
                for lag in self.lags if kind in ORDERS else ():
                    change = x - look_back(lag)
                    if kind == "second_difference":
                        change = change - look_back(lag) + look_back(2 * lag)
                    found.append(change * (seen >= ORDERS[kind] * lag).unsqueeze(-1))
        count_updates(sum(block.numel() for block, kind in zip(found, self._each(), strict=True) if kind != "features"))
        expanded = torch.cat(found, -1)
        return expanded if mask is None else expanded.masked_fill(~mask.unsqueeze(-1), 0.0), past

    def _each(self) -> Iterator[str]:
        """The kind of each block."""
        for kind in self.kinds:
            yield from [kind] * len({"features": (0,), "mean": self.windows}.get(kind, self.lags))

    @staticmethod
    def _average(joined: Tensor, seen: Tensor, window: int, steps: int) -> Tensor:
        """Means (B, T, D) of the last ``window`` steps; what was before the clip is zero and does not count."""
        needed = joined[:, joined.shape[1] - steps - window + 1 :]
        mean = F.avg_pool1d(needed.transpose(1, 2), window, 1).transpose(1, 2)
        return mean * (window / (seen + 1).clamp(max=window)).unsqueeze(-1)

    def expand_alone(self, clip: Tensor, mask: Tensor) -> Tensor:
        """All inputs (T, blocks D) of one whole clip (T, D) with its mask (T,)."""
        clip = clip.masked_fill(~mask.unsqueeze(-1), 0.0)
        past = self.start(1, clip.shape[1], clip.device, clip.dtype)
        return self.expand(clip.unsqueeze(0), past, mask.unsqueeze(0))[0].squeeze(0)


class ExpandedClips:
    """Clips (T, D) with their masks, expanded when they are asked for: all of them at once may not fit into memory."""

    def __init__(self, inputs: Inputs, clips: Any, masks: Any) -> None:
        self.inputs, self.clips, self.masks = inputs, clips, masks

    def __iter__(self) -> Iterator[Tensor]:
        if self.inputs.changes_nothing:
            return iter(self.clips)
        return (self.inputs.expand_alone(clip, mask) for clip, mask in zip(self.clips, self.masks, strict=True))
