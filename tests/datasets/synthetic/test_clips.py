"""The dataset `synthetic`: its catalog."""

import pytest

from snn_action.core.errors import ConfigError
from snn_action.core.registry import parse
from snn_action.datasets.catalog import split_validation
from snn_action.datasets.synthetic.motions import ACTIONS, PAIRS


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    place = str(tmp_path_factory.mktemp("synthetic"))
    small = {"groups": 5, "clips_per_group": 1, "frames": 8, "size": 32, "path": place}
    return lambda **change: parse("dataset", {"type": "synthetic", **small, **change})


def test_the_catalog_holds_whole_persons_on_each_side(settings):
    catalog = settings().build(0)
    assert catalog.class_names == tuple(action.name for action in ACTIONS)
    assert catalog.pairs == PAIRS
    assert len(catalog.videos) == 5 * len(ACTIONS)
    assert all(video.path.is_file() for video in catalog.videos)
    for video in catalog.videos:
        assert video.name == f"{catalog.class_names[video.label]}/{video.path.name}"
    (fold,) = catalog.folds
    train, test = ({catalog.videos[i].group for i in side} for side in (fold.train, fold.test))
    assert test == {"g01"}
    assert train == {"g02", "g03", "g04", "g05"}
    kept, validation = split_validation(catalog, fold, 0.25, seed=0)
    groups = {catalog.videos[i].group for i in validation}
    assert len(groups) == 1
    assert not groups & {catalog.videos[i].group for i in kept}
    assert len(validation) == len(ACTIONS)


def test_all_splits_test_other_persons(settings):
    catalog = settings(split="all").build(0)
    tested = [{catalog.videos[i].group for i in fold.test} for fold in catalog.folds]
    assert tested == [{"g01"}, {"g02"}, {"g03"}]


def test_the_runs_seed_does_not_change_the_videos(settings):
    first = settings().build(0)
    data = first.videos[0].path.read_bytes()
    assert settings().build(1) == first
    assert first.videos[0].path.read_bytes() == data


@pytest.mark.parametrize(
    ("key", "value"), [("groups", 3), ("groups", 100), ("size", 50), ("frames", 4), ("seed", -1), ("split", 4)]
)
def test_settings_that_cannot_be_are_refused(settings, key, value):
    with pytest.raises(ConfigError, match=key):
        settings(**{key: value})
