"""Extracted features as the original project pickled them, so that its own code can read them."""

from collections.abc import Sequence
from pathlib import Path

from snn_action.data.catalog import Catalog
from snn_action.data.datasets.seed_frames import PicklePaths
from snn_action.features.feature_set import FeatureSet
from snn_action.seed_format.pickles import write_pickles


def keep_as_pickles(paths: PicklePaths, catalog: Catalog, features: FeatureSet) -> None:
    """Write features (videos, T, D) and labels (videos, T, 1) of both sides; short videos are padded with zeros.

    Raises:
        WorkError: a file cannot be written.
    """
    (fold,) = catalog.folds

    def keep(videos: Sequence[int], data: Path, labels: Path) -> None:
        clips = features.clips_of(videos)
        values, _ = features.read(clips)
        write_pickles(data, labels, values.numpy(), features.label[clips])

    keep(fold.train, paths.train_data, paths.train_labels)
    keep(fold.test, paths.test_data, paths.test_labels)
