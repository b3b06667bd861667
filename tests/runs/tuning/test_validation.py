from dataclasses import replace

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold, Video
from snn_action.runs.data import load_data
from snn_action.runs.tuning.candidates import Candidate
from snn_action.runs.tuning.validation import Validation, divide, list_limits


def make_catalog(groups: int, classes: int = 3, clips: int = 2) -> Catalog:
    """The last group tests."""
    rows = [(group, label, clip) for group in range(groups) for label in range(classes) for clip in range(clips)]
    videos = tuple(Video(f"{label}/{group}_{clip}", label, f"g{group}") for group, label, clip in rows)
    test = tuple(index for index, row in enumerate(rows) if row[0] == groups - 1)
    train = tuple(index for index in range(len(rows)) if index not in test)
    return Catalog(tuple(f"c{label}" for label in range(classes)), videos, (Fold("1", train, test),))


def groups_of(catalog: Catalog, indices) -> set[str | None]:
    return {catalog.videos[index].group for index in indices}


@pytest.mark.parametrize("number", [2, 4, 7])
def test_every_training_video_is_validated_once_by_models_that_know_none_of_its_group(number):
    catalog = make_catalog(9)
    inner = divide(catalog, catalog.folds[0], number, seed=1)
    assert len(inner) == number
    assert sorted(index for fold in inner for index in fold.test) == [*catalog.folds[0].train]
    for fold in inner:
        assert not groups_of(catalog, fold.train) & groups_of(catalog, fold.test)
        assert {*fold.train} | {*fold.test} == {*catalog.folds[0].train}


def test_no_test_video_of_the_fold_plays_a_part():
    catalog = make_catalog(5)
    used = {index for fold in divide(catalog, catalog.folds[0], 4, seed=0) for index in (*fold.train, *fold.test)}
    assert not used & {*catalog.folds[0].test}


def test_there_are_no_more_folds_than_groups():
    catalog = make_catalog(4)
    inner = divide(catalog, catalog.folds[0], 10, seed=0)
    assert len(inner) == 3
    (said,) = list_limits(catalog, catalog.folds[0], inner, 10)
    assert said == "3 inner folds, not 10: there are too few groups of training videos"
    assert not list_limits(catalog, catalog.folds[0], inner, 3)


def test_videos_of_a_class_that_lies_in_one_group_always_train():
    catalog = make_catalog(5)
    alone = Video("3/0_0", 3, "g0")
    fold = catalog.folds[0]
    whole = replace(
        catalog,
        class_names=(*catalog.class_names, "c3"),
        videos=(*catalog.videos, alone),
        folds=(replace(fold, train=(*fold.train, len(catalog.videos))),),
    )
    inner = divide(whole, whole.folds[0], 4, seed=0)
    (said,) = list_limits(whole, whole.folds[0], inner, 4)
    assert said.startswith("1 of 4 classes have training videos of too few groups to hold one out (c3): ")
    place = len(catalog.videos)
    assert all(place in part.train and place not in part.test for part in inner)


def test_one_group_cannot_be_divided():
    catalog = make_catalog(2)
    with pytest.raises(ConfigError, match="all training videos are of one group"):
        divide(catalog, catalog.folds[0], 4, seed=0)


def test_classes_that_lie_in_one_group_each_cannot_be_validated():
    videos = tuple(Video(f"v{k}", k % 3, f"g{k % 3}") for k in range(6))
    catalog = Catalog(("a", "b", "c"), videos, (Fold("1", (0, 1, 2, 3, 4, 5), (0, 1, 2)),))
    with pytest.raises(ConfigError, match="no class has training videos of two groups"):
        divide(catalog, catalog.folds[0], 3, seed=0)


@pytest.fixture
def validation(features_file, write_config):
    config = load_config(write_config({"type": "features", "path": str(features_file)}))
    data = load_data(config)
    return Validation(config, data, divide(data.catalog, data.catalog.folds[0], 3, config.seed))


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate({"type": "mean_pool"}, "given", {"validation_share": 0.2}),
        Candidate({"type": "lmu", "units": 20, "memory_d": 5, "order": 2, "theta": 4.0, "encoders": "on_off",
                   "readout": "logistic"}, "given", {"epochs": 0, "validation_share": 0}),
    ],
    ids=["mean_pool", "lmu"],
)  # fmt: skip
def test_a_candidate_is_scored_on_every_inner_fold(validation, candidate):
    scores = [*validation.test(candidate)]
    assert len(scores) == 3
    videos = np.concatenate([score.videos for score in scores])
    assert videos.tolist() == [index for fold in validation.inner for index in fold.test]
    assert np.concatenate([score.right for score in scores]).mean() > 0.8
    assert all((score.loss > 0).all() and score.seconds > 0 for score in scores)
    assert validation.count()["effective_macs"] > 0
    again = [*validation.test(candidate)]
    assert all((one.loss == two.loss).all() for one, two in zip(scores, again, strict=True))
