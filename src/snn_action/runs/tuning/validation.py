"""How a candidate does on training groups: cross-validation inside the training side of one fold.

The videos that a fold learns from are dealt to a few inner folds of whole groups. A candidate is trained on all but one
of them and tested on that one, in turn, so that every training video is validated once, by a model that knows none of
its group. Test videos play no part.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold, draw_validation
from snn_action.datasets.lists import deal_folds
from snn_action.evaluation import count_model_operations, measure_loss, predict_clips
from snn_action.evaluation.accuracy import average_clips
from snn_action.features import FeatureSet
from snn_action.models import TemporalModel, build_model
from snn_action.runs.data import BASELINE_VALIDATION, Data
from snn_action.runs.tuning.candidates import GIVEN, JOINED, LATE, Candidate
from snn_action.training import Sides, is_fitted_at_once, resolve_device, set_weights, train_model


@dataclass(frozen=True)
class FoldScore:
    """How a candidate did on one inner fold.

    Attributes:
        videos: Indices of the validated videos in the catalog (V,).
        right: Whether each was recognized (V,).
        loss: Negative log-likelihood of each video's class (V,).
        seconds: Of training and validation.
    """

    videos: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    loss: npt.NDArray[np.float64]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of videos that were recognized."""
        return float(self.right.mean())


def divide(catalog: Catalog, fold: Fold, number: int, seed: int) -> tuple[Fold, ...]:
    """Inner folds of the videos that ``fold`` learns from; fewer where there are fewer groups.

    A class that all of an inner fold's training videos would lack is not validated there: its videos train.

    Raises:
        ConfigError: there are no two groups, or no class lies in two of them.
    """
    learned = fold.learned
    videos = [catalog.videos[index] for index in learned]
    groups = {video.name if video.group is None else video.group for video in videos}
    if len(groups) < 2:
        raise ConfigError(
            f"split {fold.name}: all training videos are of one group, so nothing can be held out to choose a head by; "
            "add videos of another person or scene, or set dataset.group_pattern"
        )
    inner = []
    for dealt in deal_folds(videos, min(number, len(groups)), seed):
        known = {videos[index].label for index in dealt.train}
        held = [index for index in dealt.test if videos[index].label in known]
        if len(known) < 2 or not held:
            continue
        kept = sorted({*range(len(videos))} - {*held})
        inner.append(Fold(dealt.name, tuple(learned[k] for k in kept), tuple(learned[k] for k in held)))
    if not inner:
        raise ConfigError(
            f"split {fold.name}: no class has training videos of two groups, so nothing can be held out to choose a "
            "head by; add videos, or check dataset.group_pattern"
        )
    return tuple(inner)


def list_limits(catalog: Catalog, fold: Fold, inner: Sequence[Fold], asked: int) -> list[str]:
    """What the inner folds of ``fold`` cannot say, in words: classes that they never validate, fewer folds."""
    validated = {catalog.videos[index].label for part in inner for index in part.test}
    left_out = sorted({catalog.videos[index].label for index in fold.learned} - validated)
    found = []
    if left_out:
        names = ", ".join(catalog.class_names[label] for label in left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        found.append(
            f"{len(left_out)} of {len(catalog.class_names)} classes have training videos of too few groups to hold one "
            f"out ({names}): the choice says nothing of them; add videos of other persons or scenes"
        )
    if len(inner) < asked:
        found.append(f"{len(inner)} inner folds, not {asked}: there are too few groups of training videos")
    return found


def choose_features(features: FeatureSet, config: Config, candidate: Candidate) -> FeatureSet:
    """The features that a candidate sees."""
    if candidate.source in (GIVEN, JOINED, LATE):
        return features
    place = [*config.clip.streams].index(candidate.source)  # type: ignore[arg-type]
    return features.take_stream(place)


class Validation:
    """Tests candidates on inner folds.

    Args:
        config: Of the search: what a candidate does not say.
        data: Features of all clips, of all streams.
        inner: Inner folds (``divide``).
    """

    def __init__(self, config: Config, data: Data, inner: Sequence[Fold]) -> None:
        self.config = config
        self.data = data
        self.inner = tuple(inner)
        self.model: TemporalModel | None = None

    def test(self, candidate: Candidate) -> Iterator[FoldScore]:
        """The candidate's scores, one inner fold after the other.

        Raises:
            SettingsError: its settings do not fit.
            ConfigError: they cannot be followed.
            WorkError: its training failed, as its loss is not finite.
        """
        config = candidate.apply(self.config)
        features = choose_features(self.data.features, self.config, candidate)
        share = config.training.validation_share
        catalog = replace(self.data.catalog, folds=self.inner)
        for fold in draw_validation(catalog, share, BASELINE_VALIDATION, config.seed).folds:
            yield self._test_fold(config, features, fold)

    def count(self) -> dict[str, float]:
        """Operations of the last model on a validated clip."""
        if self.model is None:
            raise ValueError("nothing has been tested")
        clip, _ = self._seen.read(self._seen.clips_of(self.inner[-1].test)[:1])
        return count_model_operations(self.model.cpu(), clip, None).to_dict()

    def _test_fold(self, config: Config, features: FeatureSet, fold: Fold) -> FoldScore:
        begun = time.perf_counter()
        device = resolve_device(config.device).main
        batch = config.evaluation.batch_size
        model = build_model(config.model, features.dim, len(self.data.catalog.class_names), config.seed)

        def measure(clips: Sequence[int]) -> dict[str, float]:
            return measure_loss(predict_clips(model, features, clips, batch, device))

        sides = Sides(features.clips_of(fold.train), features.clips_of(fold.validation))
        if is_fitted_at_once(model, config):  # nothing to keep
            set_weights(model, features, sides, config)
        else:
            with tempfile.TemporaryDirectory(prefix="snn-action-") as folder:
                train_model(model, features, sides, config, Path(folder), measure=measure)
        tested = average_clips(predict_clips(model, features, features.clips_of(fold.test), batch, device))
        self.model, self._seen = model, features
        own = np.take_along_axis(tested.probabilities, tested.label[:, None], 1)[:, 0]
        loss = -np.log(np.maximum(own, 1e-12))
        return FoldScore(tested.video, tested.correct, loss, time.perf_counter() - begun)
