"""A temporal model follows the clips of one video, and looks no further at those of which it is sure."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.evaluation.early_stop import Stop, find_stop
from snn_action.models import TemporalModel


class Looking:
    """What is said of each clip, step by step, until ``stop`` (``evaluation.early_stop``) or its end.

    Args:
        model: In evaluation mode.
        stop: When a clip is no longer looked at.
        device: Where the model is.
    """

    def __init__(self, model: TemporalModel, stop: Stop, device: torch.device) -> None:
        self.model = model
        self.stop = stop
        self.device = device
        self._states: dict[int, Any] = {}
        self._shares: dict[int, npt.NDArray[np.float32]] = {}
        self._totals: dict[int, npt.NDArray[np.float32]] = {}

    def __call__(self, clip: int, features: Tensor) -> bool:
        """Look at the next steps (n, D) of a clip; whether more of it has to be looked at."""
        with torch.inference_mode():
            logits, self._states[clip] = self.model(features.unsqueeze(0).to(self.device), self._states.get(clip))
        logits = logits[0].float()
        shares, totals = logits.softmax(-1).cpu().numpy(), logits.logsumexp(-1).cpu().numpy()
        if clip in self._shares:
            shares = np.concatenate([self._shares[clip], shares])
            totals = np.concatenate([self._totals[clip], totals])
        enough = find_stop(shares, self.model.averages_time, self.stop)
        self._shares[clip], self._totals[clip] = shares[:enough], totals[:enough]
        return enough is None

    def tell(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Softmax (C, T, K) at each step that was looked at, ``logsumexp`` (C, T) and mask (C, T); 0 where padded."""
        lengths = [len(self._shares[clip]) for clip in sorted(self._shares)]
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        shares = np.zeros((*mask.shape, self.model.num_classes), np.float32)
        totals = np.zeros(mask.shape, np.float32)
        shares[mask] = np.concatenate([self._shares[clip] for clip in sorted(self._shares)])
        totals[mask] = np.concatenate([self._totals[clip] for clip in sorted(self._totals)])
        return shares, totals, mask
