"""Controls of a temporal claim: the same weights on the same clips, with the order of their frames taken away.

===============  ======================================================================================
``shuffled``     the frames of each clip in random order
``first_frame``  the first frame of each clip, repeated
===============  ======================================================================================

A model that keeps its accuracy on either does not need the course in time. A backbone sees one frame at a time, so a
clip's features are rearranged as its frames would be. A step of the stream ``difference`` shows what moves just then:
``shuffled`` puts these moments in another order, and does not take away the motion within each; in ``first_frame``
nothing moves, so each step has the features of an empty difference image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.features.extraction.embed import embed
from snn_action.features.feature_set import FeatureSet
from snn_action.video.transforms import difference_image

Control = Literal["shuffled", "first_frame"]
CONTROLS: tuple[Control, ...] = ("shuffled", "first_frame")


@dataclass(frozen=True)
class Rearranged(FeatureSet):
    """Features of clips whose frames were rearranged.

    Attributes:
        control: How.
        seed: Draws the order of each clip, with the number of the clip.
        still: For each stream what it shows where nothing moves (D,); None: its first step.
    """

    control: Control = "shuffled"
    seed: int = 0
    still: tuple[npt.NDArray[np.float32] | None, ...] = ()

    def read(self, clips: Sequence[int] | npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """As ``FeatureSet.read``, rearranged."""
        features, mask = super().read(clips)
        for clip, row, length in zip(clips, features, mask.sum(1).tolist(), strict=True):
            if self.control == "shuffled":
                order = np.random.default_rng([self.seed, int(clip)]).permutation(length)
                row[:length] = row[torch.from_numpy(order)]
                continue
            left = 0
            for stream, still in zip(self.streams, self.still, strict=True):
                right = left + stream.dim
                row[:length, left:right] = row[0, left:right].clone() if still is None else torch.from_numpy(still)
                left = right
        return features, mask


def rearrange(
    features: FeatureSet, control: Control, config: Config, backbone: Backbone | None, device: torch.device | str
) -> Rearranged:
    """The same clips, rearranged; ``backbone`` is that of the features, None where they came with the dataset."""
    still: tuple[npt.NDArray[np.float32] | None, ...] = (None,) * len(features.streams)
    if backbone is not None and control == "first_frame" and "difference" in config.clip.streams:
        empty = _embed_empty_difference(backbone, config, device)
        still = tuple(empty if stream == "difference" else None for stream in config.clip.streams)
    own = {part.name: getattr(features, part.name) for part in fields(features)}
    return Rearranged(**own, control=control, seed=config.seed, still=still)


def _embed_empty_difference(backbone: Backbone, config: Config, device: torch.device | str) -> npt.NDArray[np.float32]:
    size = config.clip.size or backbone.input_size
    frame = np.zeros((size, size, 3), np.uint8)
    image = torch.from_numpy(difference_image(frame, frame)).permute(2, 0, 1).unsqueeze(0)
    features = embed(backbone, image, 1, config.backbone.precision, device)
    return features[0].numpy()
