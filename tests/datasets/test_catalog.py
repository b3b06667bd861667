import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold, Video, split_validation


def make_catalog(rows, test=()):
    videos = tuple(Video(f"v{i}", label, group) for i, (label, group) in enumerate(rows))
    train = tuple(i for i in range(len(rows)) if i not in test)
    names = tuple(f"class{i}" for i in range(max(label for label, _ in rows) + 1))
    return Catalog(names, videos, (Fold("1", train, tuple(test)),))


def test_a_test_class_that_is_never_trained_is_named():
    with pytest.raises(ConfigError, match="never trained: class2"):
        make_catalog([(0, "a"), (1, "a"), (2, "b")], test=[2])


def test_one_class_only():
    with pytest.raises(ConfigError, match="at least two classes"):
        make_catalog([(0, "a"), (0, "b")], test=[1])
    with pytest.raises(ConfigError, match="one class"):
        make_catalog([(0, "a"), (0, "b"), (1, "c")], test=[1, 2][:1]).without({2})


def test_empty_sides_and_no_fold():
    with pytest.raises(ConfigError, match="no test videos"):
        make_catalog([(0, "a"), (1, "a")])
    catalog = make_catalog([(0, "a"), (1, "a"), (0, "b")], test=[2])
    with pytest.raises(ConfigError, match="no test videos"):
        catalog.without({2})
    with pytest.raises(ConfigError, match="no split"):
        Catalog(catalog.class_names, catalog.videos, ())


def test_names_are_unique():
    video = Video("same", 0)
    with pytest.raises(ConfigError, match="same name"):
        Catalog(("a", "b"), (video, video), (Fold("1", (0,), (1,)),))


def test_without_keeps_indices():
    catalog = make_catalog([(0, "a"), (1, "a"), (0, "b"), (1, "b"), (0, "c")], test=[4]).without({0})
    assert catalog.folds[0].train == (1, 2, 3)
    assert catalog.videos[4].name == "v4"


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh")), min_size=6, max_size=40),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 2**31),
)
def test_validation_moves_whole_groups_and_keeps_every_class(rows, share, seed):
    rows = [(0, "x"), (1, "x"), (2, "x"), (0, "y"), (1, "y"), (2, "y"), *rows]
    catalog = make_catalog(rows, test=[0, 1])
    fold = catalog.folds[0]
    train, validation = split_validation(catalog, fold, share, seed)
    assert sorted((*train, *validation)) == sorted(fold.train)
    assert not {rows[i][1] for i in train} & {rows[i][1] for i in validation}
    assert {rows[i][0] for i in train} == {rows[i][0] for i in fold.train}
    assert (train, validation) == split_validation(catalog, fold, share, seed)
    if share == 0:
        assert validation == ()


def test_where_groups_are_unknown_there_is_no_validation():
    catalog = make_catalog([(0, None), (1, None), (0, None), (1, None)], test=[2, 3])
    assert split_validation(catalog, catalog.folds[0], 0.5, 0) == ((0, 1), ())


def test_the_share_is_about_reached():
    rows = [(label, f"g{group}") for group in range(20) for label in (0, 1)]
    catalog = make_catalog(rows, test=[0, 1])
    _, validation = split_validation(catalog, catalog.folds[0], 0.2, 1)
    assert 0.15 <= len(validation) / len(catalog.folds[0].train) <= 0.3


def test_folds_that_leave_one_person_out_validate_on_many_persons():
    persons = range(9)
    videos = tuple(Video(f"v{person}{label}", label, f"p{person}") for person in persons for label in (0, 1))
    every = range(len(videos))
    folds = tuple(Fold(f"p{out}", tuple(i for i in every if i // 2 != out), (2 * out, 2 * out + 1)) for out in persons)
    catalog = Catalog(("a", "b"), videos, folds)
    for seed in range(20):
        looked_at = {split_validation(catalog, fold, 0.1, seed)[1] for fold in folds}
        assert len(looked_at) >= 4  # one draw for all folds makes two of it: a person, and another where it is tested
