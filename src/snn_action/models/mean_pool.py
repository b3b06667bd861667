"""The baseline: multinomial logistic regression on the running mean of the frames' features.

    logits_t = W mean(x_0 .. x_t) + b,  W and b minimize  sum_clips -log p(label) + strength / 2 |W|^2

where the mean is that of each clip's last real step. The order of frames is lost, so a model of time is worth
only what it gains over this one. Features are standardized on the training set, each by its own deviation or all by
one (see ``InputStandardizer``), whichever suits the validation clips better.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.models.base import InputStandardizer, TemporalModel
from snn_action.models.inputs import ExpandedClips
from snn_action.models.logistic import LogisticRegression, few_threads, fit_logistic
from snn_action.models.settings import Input, MeanPoolSettings, Scaling
from snn_action.snn.counting import count_updates
from snn_action.snn.masks import check_mask

STRENGTHS = tuple(10 ** (k / 2) for k in range(8, -7, -1))  # 10^4 down to 10^-3
DEFAULT_STRENGTH = 10.0
SCALINGS: tuple[Scaling, ...] = ("feature", "global")
DEFAULT_SCALING: Scaling = "global"
CLOSE = 1e-4  # of the gradient, in units of the strength: losses to compare strengths by are then right to about 1e-4

Clips = tuple[Tensor, Tensor, Tensor]


class MeanPoolState(NamedTuple):
    """Sum of the standardized features seen (B, D), and their number (B,)."""

    total: Tensor
    number: Tensor


class MeanPool(TemporalModel):
    """Logistic regression on the mean of the frames so far: ``logits_t = W mean(x_0 .. x_t) + b``.

    Trained by ``fit``; ``weight`` (K, D) and ``bias`` (K,) are buffers, zero until then.

    Attributes:
        strength: L2 strength of the last fit.
    """

    Settings = MeanPoolSettings
    settings: MeanPoolSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            settings: MeanPoolSettings | None = None,
        ) -> None: ...

    averages_time: ClassVar[bool] = True
    trained_by_gradient: ClassVar[bool] = False
    weight: Tensor
    bias: Tensor
    strength: Tensor

    def make_parts(self) -> None:
        """See the class."""
        self.standardizer = InputStandardizer(self.in_features, DEFAULT_SCALING)
        self.register_buffer("weight", torch.zeros(self.num_classes, self.in_features))
        self.register_buffer("bias", torch.zeros(self.num_classes))
        self.register_buffer("strength", torch.tensor(DEFAULT_STRENGTH))

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> MeanPoolState:
        """Nothing seen."""
        return MeanPoolState(
            torch.zeros(batch, self.in_features, device=device, dtype=dtype),
            torch.zeros(batch, device=device, dtype=dtype),
        )

    def forward_steps(self, x: Tensor, state: MeanPoolState, mask: Tensor | None) -> tuple[Tensor, MeanPoolState]:
        """Padded steps add nothing, so their predictions repeat the last real one's."""
        real = x.new_ones(x.shape[:2]) if mask is None else mask.to(x)
        total = state.total.unsqueeze(1) + (x * real.unsqueeze(-1)).cumsum(1)
        count = state.number.unsqueeze(1) + real.cumsum(1)
        count_updates(x.numel())
        return F.linear(total / count.unsqueeze(-1), self.weight, self.bias), MeanPoolState(total[:, -1], count[:, -1])

    def step_once(self, x: Tensor, state: MeanPoolState) -> tuple[Tensor, MeanPoolState]:
        """One step is a sequence of one."""
        logits, state = self.forward_steps(x.unsqueeze(1), state, None)
        return logits.squeeze(1), state

    def fit(self, features: Tensor, mask: Tensor, labels: Tensor, validation: Clips | None = None) -> None:
        """Fit to ``features`` (C, T, D), ``mask`` (C, T) and ``labels`` (C,), in float64, deterministically.

        With ``validation``, scaling and strength are those of ``SCALINGS`` and ``STRENGTHS`` with the least negative
        log-likelihood of the validation clips, given the training clips; then mean, deviation, W and b are fitted to
        both together. Without, they are ``DEFAULT_SCALING`` and ``DEFAULT_STRENGTH``.

        Raises:
            ValueError: shapes do not fit, a mask has a hole, a label is out of range or a feature is not finite.
        """
        self._check(features, mask, labels)
        if validation is not None:
            self._check(*validation)
        with few_threads(features[0].numel()):
            self._fit(features, mask, labels, validation)

    def _fit(self, features: Tensor, mask: Tensor, labels: Tensor, validation: Clips | None) -> None:
        scaling, strength = DEFAULT_SCALING, DEFAULT_STRENGTH
        clips, real = self._expand(features, mask), list(mask)
        if validation is not None:
            more, more_real, more_labels = self._expand(*validation[:2]), list(validation[1]), validation[2]
            found = []
            for candidate in SCALINGS:
                self._standardize(candidate, clips, real)
                training = self._means(clips, real), labels
                found.append((*choose_strength(training, (self._means(more, more_real), more_labels)), candidate))
            _, strength, scaling = min(found)
            labels = torch.cat([labels, more_labels])
            clips = self._expand([*features, *validation[0]], [*mask, *validation[1]])
            real = real + more_real
        self._standardize(scaling, clips, real)
        weight, bias = fit_logistic(self._means(clips, real), labels, self.num_classes, strength)
        self.weight, self.bias = weight.to(self.weight), bias.to(self.bias)
        self.strength = self.strength.new_tensor(strength)

    def _expand(self, features: Iterable[Tensor], mask: Iterable[Tensor]) -> Iterable[Tensor]:
        return ExpandedClips(self.inputs, features, mask)

    def _standardize(self, scaling: Scaling, clips: Iterable[Tensor], real: list[Tensor]) -> None:
        self.standardizer.scaling = scaling
        self.standardizer.fit(clips, real)

    def _means(self, clips: Iterable[Tensor], real: list[Tensor]) -> Tensor:
        """Each clip's mean over its real steps, standardized, float64."""
        means = torch.stack([clip[steps].mean(0, dtype=torch.float64) for clip, steps in zip(clips, real, strict=True)])
        mean, scale = self.standardizer.mean, self.standardizer.scale
        return (means - mean.to(means)) * scale.to(means)

    def _check(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        if features.ndim != 3 or features.shape[2] != self.given_features or len(features) == 0:
            raise ValueError(f"features must be (clips, steps, {self.given_features}), not {tuple(features.shape)}")
        mask = check_mask(mask, *features.shape[:2])
        if labels.shape != features.shape[:1]:
            raise ValueError(f"labels must have shape {(len(features),)}, not {tuple(labels.shape)}")
        if not bool(((labels >= 0) & (labels < self.num_classes)).all()):
            raise ValueError(f"labels must be in 0 .. {self.num_classes - 1}")
        for number, (clip, real) in enumerate(zip(features, mask, strict=True)):
            if not bool(clip[real].isfinite().all()):
                raise ValueError(f"features of clip {number} are not finite")


def choose_strength(training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """The least loss of ``validation`` (x, labels), given ``training`` (x, labels), and the strength that gives it.

    From the strongest down, each fit starting from the last one's; it stops when three in a row were worse than the
    best, because weak strengths are slow to fit and the curve has one valley.
    """
    num_classes = int(max(training[1].max(), validation[1].max())) + 1
    best, least, worse = DEFAULT_STRENGTH, float("inf"), 0
    regression = LogisticRegression(*training, num_classes)
    for strength in STRENGTHS:
        weight, bias = regression.fit(strength, CLOSE * min(1.0, strength))
        loss = float(F.cross_entropy(F.linear(validation[0], weight, bias), validation[1]))
        best, least, worse = (strength, loss, 0) if loss < least else (best, least, worse + 1)
        if worse == 3:
            break
    return least, best
