"""A temporal model on a stream without end, which sees no more at once than the clips it was trained on.

A model learned from clips of at most ``frames`` steps; what it says after more of them nobody has tested. So several
copies of its state, the rows of one batch, run side by side. Each begins anew when it has seen ``frames`` steps, and
their beginnings are spread evenly: at any time one of them has begun not long ago, and another has seen nearly a clip.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.core.errors import WorkError
from snn_action.models import TemporalModel


class Said(NamedTuple):
    """What each of R rows said at T steps.

    Attributes:
        shares: Softmax (T, R, K).
        ages: The steps that the row had seen by then (T, R), 1 or more.
        totals: ``logsumexp`` of the logits (T, R), which the softmax leaves out.
    """

    shares: npt.NDArray[np.float32]
    ages: npt.NDArray[np.int64]
    totals: npt.NDArray[np.float32]

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean over the rows (T, K)."""
        return np.asarray(self.shares.mean(1, dtype=np.float64))


class StaggeredRows:
    """Copies of a model's state at different distances from their last beginning.

    Args:
        model: In evaluation mode.
        frames: Steps after which a row begins anew.
        rows: Copies R; no more than ``frames``.
        shows: Keep the spikes of the hidden units of the first row (``spikes``).
    """

    def __init__(self, model: TemporalModel, frames: int, rows: int, *, shows: bool = False) -> None:
        self.model = model
        self.frames = frames
        self.rows = min(rows, frames)
        self.shows = shows
        self.spikes: npt.NDArray[np.float32] | None = None
        self._ages = np.zeros(self.rows, np.int64)
        # the first time they begin anew earlier, each at its own place
        self._left = np.array([round((row + 1) * frames / self.rows) for row in range(self.rows)])
        self._state: Any = None
        self._first: Any = None

    def advance(self, features: Tensor) -> Said:
        """What the rows say at the steps of ``features`` (T, D), which follow those of the last call.

        Afterwards ``spikes`` (T, N) are those of the first row, where they are kept and hidden units spike.

        Raises:
            WorkError: the model's output is not finite.
        """
        shares, totals, ages, spikes = [], [], [], []
        with torch.inference_mode():
            while len(features):
                steps = min(len(features), int(self._left.min()))
                now, features = features[:steps], features[steps:]
                if self.shows:
                    spikes.append(self._show(now))
                logits = self._run(now)
                shares.append(logits.softmax(-1).cpu().numpy())
                totals.append(logits.logsumexp(-1).cpu().numpy())
                ages.append(self._ages + np.arange(1, steps + 1)[:, None])
                self._count(steps)
        said = Said(np.concatenate(shares), np.concatenate(ages), np.concatenate(totals))
        if not np.isfinite(said.shares).all():
            raise WorkError("the model's output is not finite: does it belong to these features?")
        shown = [part for part in spikes if part is not None]
        self.spikes = np.concatenate(shown) if shown else None
        return said

    def _run(self, features: Tensor) -> Tensor:
        """Logits (T, R, K)."""
        if len(features) == 1:
            logits, self._state = self.model.step(features.expand(self.rows, -1), self._state)
            logits = logits.unsqueeze(1)
        else:
            logits, self._state = self.model(features.expand(self.rows, -1, -1), self._state)
        return logits.float().transpose(0, 1)

    def _show(self, features: Tensor) -> npt.NDArray[np.float32] | None:
        state = None if self._state is None else _take_first(self._state)
        spikes = self.model.show_spikes(features.unsqueeze(0), None, state)
        return None if spikes is None else spikes[0].float().cpu().numpy()

    def _count(self, steps: int) -> None:
        self._ages += steps
        self._left -= steps
        if not (ended := self._left == 0).any():
            return
        if self._first is None:
            mean = self.model.standardizer.mean
            self._first = self.model.initial_state(self.rows, mean.device, mean.dtype)
        self._state = _put_back(
            self._state, self._first, torch.from_numpy(ended).to(self.model.standardizer.mean.device)
        )
        self._ages[ended] = 0
        self._left[ended] = self.frames


def _put_back(state: Any, first: Any, rows: Tensor) -> Any:
    """``first`` in the rows where ``rows`` (R,) is true, and ``state`` in the others."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return torch.where(rows.view(-1, *(1,) * (state.ndim - 1)), first.to(state), state)
    parts = [_put_back(now, then, rows) for now, then in zip(state, first, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _take_first(state: Any) -> Any:
    """The state of the first row alone."""
    if state is None or isinstance(state, Tensor):
        return state if state is None else state[:1]
    parts = [_take_first(part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


class LeakyEvidence:
    """Evidence of each class with a leak: what was said a while ago counts for less and less.

        e(t) = sum_s a^(t - s) p(s) / sum_s a^(t - s),   a = exp(-1 / steps)

    where ``p`` (K,) is the mean of what the rows say. The first steps' evidence is the mean of all there were.
    """

    def __init__(self, steps: float) -> None:
        self._keep = math.exp(-1 / steps)
        self._sum: npt.NDArray[np.float64] | float = 0.0
        self._weight = 0.0

    def add(self, shares: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The evidence (K,) with ``shares`` (K,), those of one more step, in it."""
        self._sum = self._keep * self._sum + np.asarray(shares, np.float64)
        self._weight = self._keep * self._weight + 1
        return np.asarray(self._sum / self._weight, np.float64)
