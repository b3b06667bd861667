"""Training clips as they are varied: other frames and times, noise, streams and clips that are mixed.

Everything is drawn from (seed, epoch, clip): neither the order of clips, nor the batch, nor the number of processes
plays a part, and an epoch after a kill is that of a training that was never killed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.features.feature_set import FeatureSet, Indices
from snn_action.models import build_model
from snn_action.training.clips import Mixed, mix_seed
from snn_action.training.resampling import Rows, draw_times, find_pace, interpolate, stretch

EPOCH, COPY = 1, 2  # what a draw is for


class Augmenter:
    """Reads training clips as ``training.augment`` says.

        x = resampled clip; one stream may be that of another clip of the class
        x + noise * deviation * n,  n ~ N(0, 1)
        share * x + (1 - share) * y,  share = max(l, 1 - l),  l ~ Beta(mixup, mixup),  y another clip, in x's length

    Args:
        features: Of all clips.
        clips: The training clips, with which a clip is mixed.
        config: Its sections ``training``, ``clip`` and ``seed``.

    Raises:
        ConfigError: features of all frames are asked for, and there are none.
    """

    def __init__(self, features: FeatureSet, clips: Sequence[int], config: Config) -> None:
        self.features = features
        self.settings = config.training.augment
        if self.settings.redraw and not features.versions:
            raise ConfigError("training.augment.redraw: there are no features of all frames of these videos")
        self.seed = config.seed if self.settings.seed is None else self.settings.seed
        self.sources = features.versions if self.settings.redraw else (features, *features.versions)
        self.clips = np.asarray(clips, np.int64)
        self.pace = find_pace(config.clip, int(features.length[self.clips].max()), self.settings.redraw)
        labels = features.label[self.clips]
        self.of_class = {int(label): self.clips[labels == label] for label in np.unique(labels)}
        noise = self.settings.noise
        self.noise = noise * _measure_deviation(features, self.clips) if noise else None

    def read(self, clips: Sequence[int] | Indices, epoch: int) -> tuple[Tensor, Tensor, Mixed | None]:
        """Features ``(B, T, D)``, zero where padded, mask ``(B, T)``, and what they are mixed of; None: not mixed."""
        drawn = [self._draw(int(clip), mix_seed(self.seed, epoch, int(clip), EPOCH, 0)) for clip in clips]
        features, mask = _pad([rows for rows, _, _ in drawn])
        if not self.settings.mixup:
            return features, mask, None
        label = torch.tensor([int(self.features.label[other]) for _, other, _ in drawn])
        return features, mask, Mixed(label, torch.tensor([share for _, _, share in drawn]))

    def read_copies(self, clips: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Features, masks and labels of the clips as they are and of ``copies`` more of each, which are not mixed."""
        rows: list[Rows] = [self.features.read([clip])[0][0].numpy() for clip in clips]
        for copy in range(self.settings.copies):
            for clip in clips:
                rng = np.random.default_rng(mix_seed(self.seed, copy, int(clip), COPY, 0))
                rows.append(self._vary(int(clip), rng))
        label = torch.from_numpy(self.features.label[list(clips)])
        return *_pad(rows), label.repeat(1 + self.settings.copies)

    def _draw(self, clip: int, seed: int) -> tuple[Rows, int, float]:
        """A clip's rows, the clip that they are mixed with, and the share of its own class."""
        rng = np.random.default_rng(seed)
        rows = self._vary(clip, rng)
        if not self.settings.mixup:
            return rows, clip, 1.0
        other = int(rng.choice(self.clips))
        share = float(rng.beta(self.settings.mixup, self.settings.mixup))
        share = max(share, 1 - share)  # so that a clip stays nearest its own class
        mixed = share * rows + (1 - share) * stretch(self._resample(other, rng), len(rows))
        return mixed.astype(np.float32), other, share

    def _vary(self, clip: int, rng: np.random.Generator) -> Rows:
        """A clip's rows at other times, with a stream of another clip, with noise."""
        rows = self._resample(clip, rng)
        if rng.random() < self.settings.mix_streams and len(self.features.streams) > 1:
            other = int(rng.choice(self.of_class[int(self.features.label[clip])]))
            edges = np.cumsum([0, *(stream.dim for stream in self.features.streams)])
            place = int(rng.integers(len(self.features.streams)))
            own = slice(edges[place], edges[place + 1])
            rows[:, own] = stretch(self._resample(other, rng), len(rows))[:, own]
        if self.noise is not None:
            rows += rng.standard_normal(rows.shape, np.float32) * self.noise
        return rows

    def _resample(self, clip: int, rng: np.random.Generator) -> Rows:
        """A clip's rows, of one of the sources, at the times that are drawn."""
        source = self.sources[int(rng.integers(len(self.sources)))]
        rows = source.read([clip])[0][0].numpy()
        return interpolate(rows, draw_times(len(rows), self.pace, self.settings, rng))


def make_augmenter(features: FeatureSet, clips: Sequence[int], config: Config) -> Augmenter | None:
    """None where nothing is switched on."""
    return Augmenter(features, clips, config) if config.training.augment.is_active else None


def check_augment(config: Config) -> None:
    """Check that what ``training.augment`` switches on reaches the model.

    Raises:
        ConfigError: it does not.
    """
    augment = config.training.augment
    if not augment.is_active or config.training.skip:
        return
    if augment.mix_streams and len(config.clip.streams) < 2:
        raise ConfigError(
            "training.augment.mix_streams: there is one stream, and nothing to mix: set it to 0, or name more in "
            "clip.streams"
        )
    is_solved = not build_model(config.model.shrink(), 1, 2, 0).trained_by_gradient
    if not is_solved and config.training.epochs:
        return
    name = config.model.model_dump()["type"]
    why = f"{name} is solved at once" if is_solved else "training.epochs is 0"
    if augment.mixup:
        raise ConfigError(
            f"training.augment.mixup: {why}, and mixed clips, which have two classes, are for epochs alone: set it to 0"
        )
    if not augment.copies:
        raise ConfigError(
            f"training.augment: {why}, and training.augment.copies is 0, so that it sees no varied clip: set copies to "
            "1 or more"
        )


def _pad(clips: Sequence[Rows]) -> tuple[Tensor, Tensor]:
    lengths = np.array([len(rows) for rows in clips])
    mask = np.arange(lengths.max()) < lengths[:, None]
    features = np.zeros((*mask.shape, clips[0].shape[1]), np.float32)
    features[mask] = np.concatenate(clips)
    return torch.from_numpy(features), torch.from_numpy(mask)


def _measure_deviation(features: FeatureSet, clips: Sequence[int] | Indices) -> Rows:
    """The deviation of each feature's stream (D,): root mean square of its features' own deviations."""
    number, total, squares = 0, np.zeros(features.dim), np.zeros(features.dim)
    for clip in clips:
        rows = features.read([clip])[0][0].numpy().astype(np.float64)
        number, total, squares = number + len(rows), total + rows.sum(0), squares + np.square(rows).sum(0)
    variance = np.maximum(squares / number - np.square(total / number), 0)
    dims = [stream.dim for stream in features.streams]
    each = [np.sqrt(own.mean()) for own in np.split(variance, np.cumsum(dims)[:-1])]
    return np.repeat(np.array(each, np.float32), dims)
