from dataclasses import replace

import pytest

from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold, Video
from snn_action.evaluation.guard import drop_videos, guard_test, refuse_leaks
from snn_action.evaluation.leakage import Leak, Leakage, find_group_mates

GROUP, ALIKE = (Leak(kind, "1", f"a {kind}") for kind in ("group", "duplicate"))
LEARNED = Leak("backbone", "1", "the backbone learned from it")


class Settings:
    def __init__(self, leakage):
        self.evaluation = self
        self.leakage = leakage


def make_catalog(**keys):
    """Groups a to d, two classes each; group b also tests."""
    groups = ["a", "a", "b", "b", "c", "c", "b", "d"]
    videos = tuple(Video(f"v{i}", i % 2, group) for i, group in enumerate(groups))
    return Catalog(("x", "y"), videos, (Fold("1", (0, 1, 2, 3), (6, 7), (4, 5)),), **keys)


@pytest.mark.parametrize(
    ("leak", "policy", "official", "refused"),
    [
        (GROUP, "refuse", False, True),
        (GROUP, "refuse", True, False),
        (GROUP, "mark", False, False),
        (ALIKE, "refuse", True, False),
        (ALIKE, "refuse", False, True),
        (LEARNED, "refuse", True, True),
        (LEARNED, "drop", False, True),
        (LEARNED, "mark", False, False),
    ],
)
def test_what_is_refused(leak, policy, official, refused):
    leakage = Leakage((leak,), ())
    if not refused:
        return refuse_leaks(leakage, policy, official)
    with pytest.raises(ConfigError, match=rf"the test is not clean.*\n  {leak.kind}: split 1") as error:
        refuse_leaks(leakage, policy, official)
    assert "'mark'" in str(error.value)
    assert ("'drop'" in str(error.value)) == (leak is not LEARNED)
    return None


def test_what_shares_a_group_is_left_out_and_counted():
    catalog = make_catalog()
    assert find_group_mates(catalog, catalog.folds[0]) == {2, 3}
    with pytest.raises(ConfigError, match="group: split 1: 1 groups stand in training and in test"):
        guard_test(catalog, Settings("refuse"), None)
    (fold,), leakage = guard_test(catalog, Settings("drop"), None)
    assert (fold.train, fold.validation, fold.test) == ((0, 1), (4, 5), (6, 7))
    assert fold.dropped == ("v2", "v3")
    assert leakage.to_dict()["clean"]
    assert leakage.to_dict()["dropped"] == 2
    assert any("2 videos were left out of training" in note for note in leakage.notes())


def test_a_run_that_has_begun_drops_nothing_any_more():
    with pytest.raises(ConfigError, match="the test is not clean"):
        guard_test(make_catalog(), Settings("drop"), None, decided=True)


def test_official_lists_go_on_and_are_marked():
    folds, leakage = guard_test(make_catalog(official=True), Settings("refuse"), None)
    assert folds == make_catalog().folds
    assert [leak.kind for leak in leakage.leaks] == ["group"]
    assert not leakage.to_dict()["clean"]


def test_validation_counts_as_learned():
    catalog = make_catalog()
    videos = tuple(replace(video, group="c") if video.group == "d" else video for video in catalog.videos)
    catalog = replace(catalog, videos=videos)
    assert find_group_mates(catalog, catalog.folds[0]) == {2, 3, 4, 5}


def test_nothing_left_to_train_on():
    with pytest.raises(ConfigError, match=r"no training videos|never trained"):
        drop_videos(make_catalog(), [{0, 1, 2, 3}])
