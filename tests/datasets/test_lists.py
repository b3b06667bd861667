from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Fold, Video
from snn_action.datasets.lists import choose_folds, deal_folds, draw_share, find_videos, fold_by_name, read_lines, stem

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=2, max_size=60)


def make_videos(rows):
    return [Video(f"v{i}", label, f"{label}_{group}") for i, (label, group) in enumerate(rows)]


def find_cut_groups(videos, fold):
    return {videos[i].group for i in fold.train} & {videos[i].group for i in fold.test}


@given(rows, st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_share_never_cuts_a_group_nor_empties_a_class(rows, share, seed):
    videos = make_videos(rows)
    fold = draw_share(videos, share, seed)
    assert sorted(fold.train + fold.test) == list(range(len(videos)))
    assert not find_cut_groups(videos, fold)
    trained = Counter(videos[i].label for i in fold.train)
    tested = Counter(videos[i].label for i in fold.test)
    for label in {label for label, _ in rows}:
        assert trained[label]
        groups = {video.group for video in videos if video.label == label}
        assert bool(tested[label]) == (len(groups) > 1)


def test_a_share_is_met_in_each_class_and_drawn_by_the_seed():
    videos = make_videos([(label, group) for label in range(3) for group in range(12) for _ in range(2)])
    fold = draw_share(videos, 0.25, 0)
    assert Counter(videos[i].label for i in fold.test) == {0: 6, 1: 6, 2: 6}
    assert fold == draw_share(videos, 0.25, 0)
    assert fold != draw_share(videos, 0.25, 1)


@given(rows, st.integers(2, 5), st.integers(0, 5))
def test_folds_test_every_video_once_in_whole_groups(rows, number, seed):
    videos = make_videos(rows)
    if len({video.group for video in videos}) < number:
        with pytest.raises(ConfigError, match=f"{number} folds of"):
            deal_folds(videos, number, seed)
        return
    folds = deal_folds(videos, number, seed)
    assert not any(find_cut_groups(videos, fold) for fold in folds)
    assert sorted(i for fold in folds for i in fold.test) == list(range(len(videos)))
    assert all(sorted(fold.train + fold.test) == list(range(len(videos))) for fold in folds)
    assert all(fold.test for fold in folds)


def test_folds_spread_classes_evenly():
    videos = make_videos([(label, group) for label in range(3) for group in range(10)])
    for fold in deal_folds(videos, 5, 3):
        assert Counter(videos[i].label for i in fold.test) == {0: 2, 1: 2, 2: 2}


def test_videos_without_group_are_groups_of_their_own():
    videos = [Video(f"v{i}", i % 2) for i in range(10)]
    assert [len(fold.test) for fold in deal_folds(videos, 5, 0)] == [2] * 5


def test_folds_by_name():
    assert fold_by_name(["train", "test", "train"], "x") == [Fold("test", (0, 2), (1,))]
    folds = fold_by_name(["10", "2", "b", "2"], "x")
    assert [fold.name for fold in folds] == ["2", "10", "b"]
    assert folds[0] == Fold("2", (0, 2), (1, 3))
    with pytest.raises(ConfigError, match="x: split holds 'train' beside names of folds"):
        fold_by_name(["train", "1"], "x")
    with pytest.raises(ConfigError, match="x: split holds one fold only"):
        fold_by_name(["1", "1"], "x")


SPLITS = [
    ["Train", "Test"],
    ["TRAIN", "tst"],
    ["training", " Testing "],
    [b"train", b"Test"],
    ["b'train'", 'b"test"'],
    ["train_set", "Test Set"],
    ["trn", "TEST"],
]


@pytest.mark.parametrize("words", SPLITS, ids=str)
def test_any_spelling_of_training_and_test_is_one_fold(words):
    train, test = words
    assert fold_by_name([train, test, train], "x") == [Fold("test", (0, 2), (1,))]


def test_spellings_may_be_mixed():
    assert fold_by_name(["train", "Train", "training", "test", "TEST"], "x") == [Fold("test", (0, 1, 2), (3, 4))]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["train", "val", "test", "val"], "'val' 2 times.*validation_share"),
        (["Train", "dev"], "'dev' 1 times.*validation_share"),
        ([True, False, True], "'True' 2 times"),
        (["true", "false"], "does not plainly name a fold"),
        (["yes", "no"], "does not plainly name a fold"),
        ([0, 1, 1], "'1' 2 times"),
        (["train", "1", "2"], "'train' beside names of folds"),
        (["train1", "test1"], "does not plainly name a fold"),
        (["Training (a)", "Testing (a)"], "does not plainly name a fold"),
        (["seen", "unseen"], "does not plainly name a fold"),
        (["anna", "eval"], "does not plainly name a fold"),
        (["", "test"], "'' 1 times"),
        ([float("nan"), 1.0, 2.0], "'nan' 1 times"),
        (["anna", "Anna", "bob"], "in two ways"),
    ],
    ids=str,
)
def test_what_may_be_meant_in_two_ways_is_an_error_with_counts(values, message):
    with pytest.raises(ConfigError, match=f"x: split .*{message}"):
        fold_by_name(values, "x")


def test_plain_names_and_numbers_are_folds():
    assert [fold.name for fold in fold_by_name([1.0, 2.0, 10.0], "x")] == ["1", "2", "10"]
    assert [fold.name for fold in fold_by_name(["anna", "bob"], "x")] == ["anna", "bob"]
    assert [fold.name for fold in fold_by_name(["fold_1", "fold_2"], "x")] == ["fold_1", "fold_2"]


def test_choosing_a_fold():
    folds = fold_by_name(["daria", "denis", "eli"], "x")
    assert choose_folds(folds, "all") == tuple(folds)
    assert choose_folds(folds, "denis") == (folds[1],)
    assert choose_folds(fold_by_name(["1", "2"], "x"), 2)[0].name == "2"
    with pytest.raises(ConfigError, match=r"dataset.split: no split 'deni'; did you mean 'denis'\?"):
        choose_folds(folds, "deni")


def test_stems_keep_dots_and_lose_video_suffixes():
    assert stem("a/b.c/v_X_g01_c01.avi") == "v_X_g01_c01"
    assert stem("a\\v.1.MP4") == "v.1"
    assert stem("mr.bean") == "mr.bean"


def test_finding_videos(tmp_path, videos):
    videos.touch(tmp_path, "b.AVI", "a.mp4", "notes.txt", ".hidden.avi", "empty/readme")
    videos.write_frames(tmp_path / "frames", 1)
    assert [path.name for path in find_videos(tmp_path)] == ["a.mp4", "b.AVI", "frames"]


def test_lists_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.txt: cannot be read"):
        read_lines(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ConfigError, match=r"empty\.txt: this list is empty"):
        read_lines(tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"binary\.txt: not a list of names, text in UTF-8"):
        read_lines(tmp_path / "binary.txt")
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbfa 1\r\n\r\nb 2\r\n")
    assert read_lines(tmp_path / "windows.txt") == [(1, "a 1"), (3, "b 2")]
