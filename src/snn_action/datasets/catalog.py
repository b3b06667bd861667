"""What a dataset is to the rest of the package: videos, labels, groups, and which of them train and test."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.core.registry import ItemSettings, Kind
from snn_action.video.content import digest_array

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class DatasetSettings(ItemSettings):
    """What every dataset can be asked."""

    kind: ClassVar[Kind] = "dataset"
    type: str = Field(description="Which dataset this is")
    max_bad_share: float = Field(0.05, ge=0, le=1, description="Share of unreadable videos that is tolerated")

    def build(self, seed: int = 0) -> "Catalog":
        """The catalog; ``seed`` draws splits where the dataset has none of its own.

        Raises:
            ConfigError: files are missing or broken, or the split cannot be made.
        """
        catalog: Catalog = self.load()(self, seed)
        return catalog

    @classmethod
    def make_example(cls, folder: Path) -> dict[str, Any] | None:
        """Write a small example of this dataset into an empty folder, and return the keys that describe it.

        The conformance tests ask for it: at least two classes, each with videos of several groups. No dataset looks
        into a video, so its files may be empty. None: there is no example, and these tests are skipped.
        """
        del folder
        return None

    def without_outputs(self) -> Self:
        """The same, naming no place to write: of a configuration that somebody else may have made."""
        return self

    def keep_features(self, catalog: "Catalog", features: Any) -> None:
        """Called with a ``FeatureSet`` once features are extracted; most datasets do nothing."""


class PathSettings(DatasetSettings):
    """What a dataset in a folder or file can be asked."""

    path: Path = Field(description="Folder or file of the dataset")


@dataclass(frozen=True)
class Video:
    """One video.

    Attributes:
        name: Unique within the catalog, the same on every machine (``Archery/v_Archery_g01_c01.avi``).
        label: Index into the catalog's class names.
        group: Videos of one group (person, scene, source) never stand on both sides of a split; None: unknown.
        path: Video file or folder of JPEG frames; None where the dataset is made of features.
    """

    name: str
    label: int
    group: str | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Fold:
    """One way to train and test: indices into the catalog's videos.

    Attributes:
        name: Its name.
        train: Videos to train on, without those of ``validation``.
        test: Videos to test on.
        validation: Videos by which an epoch is chosen; a dataset names none, ``draw_validation`` does.
        baseline: Those of ``learned`` by which the baseline chooses its penalty.
        dropped: Names of videos that were left out of training, as they share something with a test video.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    validation: tuple[int, ...] = ()
    baseline: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def learned(self) -> tuple[int, ...]:
        """All videos that the model may owe something to, in the order of the catalog."""
        return tuple(sorted((*self.train, *self.validation)))


@dataclass(frozen=True)
class Arrays:
    """Features that came with the dataset: ``features`` (videos, T, D) float, ``lengths`` (videos,) real steps."""

    features: "npt.NDArray[np.floating[Any]]"
    lengths: "npt.NDArray[np.integer[Any]]"
    source: str


@dataclass(frozen=True)
class Catalog:
    """All videos of a dataset and its folds.

    Attributes:
        class_names: Name of each label.
        videos: All videos; folds hold indices into them.
        folds: The ways to train and test.
        arrays: Features that came with the dataset, in the order of ``videos``.
        pairs: Pairs of classes that only their course in time tells apart; reports show them apart.
        notes: What a reader of the results should know about the dataset.
        test_only: There is nothing to train on: a trained run is tested.
        official: The folds are those of published lists: groups that they share are marked, not refused.
        leaks: Why the features that came with the dataset may owe something to its test videos.
        backbone_videos: Names of the videos that the network behind these features learned from, where known.

    Raises:
        ConfigError: fewer than two classes, no fold, an empty side of a fold, or a test class absent from training.
    """

    class_names: tuple[str, ...]
    videos: tuple[Video, ...]
    folds: tuple[Fold, ...]
    arrays: Arrays | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    official: bool = False
    test_only: bool = False
    leaks: tuple[str, ...] = ()
    backbone_videos: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise ConfigError(
                f"dataset: a recognizer needs at least two classes, found {list(self.class_names)}; add a class"
            )
        if not self.folds:
            raise ConfigError("dataset: no split into training and test videos")
        if len({video.name for video in self.videos}) < len(self.videos):
            raise ConfigError("dataset: two videos have the same name")
        if self.test_only:
            return
        for fold in self.folds:
            for side, indices in (("training", fold.train), ("test", fold.test)):
                if not indices:
                    raise ConfigError(f"dataset: split {fold.name} has no {side} videos; choose or make another split")
            trained = {self.videos[i].label for i in fold.train}
            absent = sorted({self.videos[i].label for i in fold.test} - trained)
            if absent:
                names = ", ".join(self.class_names[label] for label in absent)
                raise ConfigError(
                    f"dataset: split {fold.name} tests classes that were never trained: {names}; "
                    "add training videos of them, or take them out of the test"
                )
            if len(trained) < 2:
                raise ConfigError(
                    f"dataset: split {fold.name}: all training videos are of one class; a recognizer needs two"
                )

    def without(self, bad: set[int]) -> "Catalog":
        """The same catalog whose folds do not name the videos in ``bad`` (indices stay the same)."""

        def keep(indices: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(index for index in indices if index not in bad)

        folds = tuple(
            replace(
                fold,
                train=keep(fold.train),
                test=keep(fold.test),
                validation=keep(fold.validation),
                baseline=keep(fold.baseline),
            )
            for fold in self.folds
        )
        return replace(self, folds=folds)


def draw_validation(catalog: Catalog, share: float, baseline_share: float, seed: int) -> Catalog:
    """The catalog whose folds hold their validation videos, and those of the baseline.

    The baseline uses the validation videos; where ``share`` is 0, it draws ``baseline_share`` of the training groups.
    """
    folds = []
    for fold in catalog.folds:
        train, validation = split_validation(catalog, fold, share, seed)
        baseline = validation if share > 0 else split_validation(catalog, fold, baseline_share, seed)[1]
        folds.append(replace(fold, train=train, validation=validation, baseline=baseline))
    return replace(catalog, folds=tuple(folds))


def split_validation(catalog: Catalog, fold: Fold, share: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Take about ``share`` of a fold's training groups for validation: ``(train, validation)`` indices.

    Whole groups move. Groups are drawn in a seeded order until the share of videos is reached, in each of the
    catalog's folds in an order of its own: were it the same in all, nine folds that leave one person out each would
    look at the same one or two persons. A group stays in training where taking it would leave a class without
    training videos. Where groups are unknown, nothing is taken.
    """
    import numpy as np

    groups = {index: catalog.videos[index].group for index in fold.train}
    if share <= 0 or any(group is None for group in groups.values()):
        return fold.train, ()
    names = sorted({group for group in groups.values() if group is not None})
    order = np.random.default_rng([seed, 0x5EED, catalog.folds.index(fold)]).permutation(len(names))
    taken: set[str] = set()
    classes = {catalog.videos[index].label for index in fold.train}
    for name in (names[k] for k in order):
        if sum(group in taken for group in groups.values()) >= share * len(fold.train):
            break
        candidate = taken | {name}
        left = {catalog.videos[index].label for index, group in groups.items() if group not in candidate}
        if left == classes:
            taken = candidate
    train = tuple(index for index in fold.train if groups[index] not in taken)
    return train, tuple(index for index in fold.train if groups[index] in taken)


def digest_features(catalog: Catalog) -> list[str]:
    """SHA-256 of each video's own features, type and shape, where they came with the dataset; padding plays no part.

    Raises:
        ValueError: the catalog brings no features.
    """
    if catalog.arrays is None:
        raise ValueError("this catalog is made of videos: digest their files")
    return [
        digest_array(video[:length])
        for video, length in zip(catalog.arrays.features, catalog.arrays.lengths.tolist(), strict=True)
    ]
