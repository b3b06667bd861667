import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.config import Config, FeatureSettings
from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold, Video
from snn_action.datasets.trained_on import UNKNOWN, Member, TrainedOn
from snn_action.evaluation import leakage
from snn_action.evaluation.guard import refuse_leaks
from snn_action.evaluation.leakage import (
    SEEN,
    UNSEEN,
    Leak,
    Leakage,
    examine_split,
    examine_weights,
    find_common_groups,
    find_duplicates,
    find_learned_videos,
    tell_duplicates,
)
from snn_action.video.perceptual import NO_PATTERN, SIDE, Fingerprint


def make_catalog(groups=("a", "a", "b", "b", "c", "c"), train=(0, 1, 2, 3), test=(4, 5), names=None, **more):
    names = names or [f"Walk/v_Walk_g{place // 2:02}_c{place:02}.avi" for place in range(len(groups))]
    videos = tuple(Video(name, place % 2, group) for place, (name, group) in enumerate(zip(names, groups, strict=True)))
    return Catalog(("x", "y"), videos, (Fold("1", tuple(train), tuple(test)),), **more)


def look(catalog, provenance=None):
    return examine_split(catalog, provenance)


def test_a_clean_split_has_nothing_to_be_said_of():
    found = look(make_catalog(), {"trained_on": "ImageNet-1k"})
    assert found.leaks == ()
    assert found.to_dict()["clean"]
    assert "groups: known of 6 of 6 videos" in found.checked
    assert any("not named" in words and "ImageNet-1k" in words for words in found.checked)
    refuse_leaks(found, policy="refuse")


@pytest.mark.parametrize(
    ("trained_on", "says"),
    [
        ("Kinetics-400", "trained on: Kinetics-400; Kinetics: .*YouTube, as do those of UCF101"),
        ("VideoMix22M and Something-Something v2", "VideoMix: .*; Something-Something: its videos were filmed for it"),
        ("WebLI", "WebLI: images from the web, not published in full"),
        ("my photos", "what of that could stand in the test set is unknown"),
        (None, "trained on: unknown; what of that"),
    ],
)
def test_what_of_the_backbone_s_training_could_overlap_is_said(trained_on, says):
    found = look(make_catalog(), {} if trained_on is None else {"trained_on": trained_on})
    assert any(re.search(says, words) for words in found.checked)


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=6, max_size=6))
def test_groups_on_both_sides_are_found(groups):
    catalog = make_catalog(groups, train=(0, 1, 2), test=(3, 4, 5))
    common = {group for group in groups[:3] if group in groups[3:] and group is not None}
    found = find_common_groups(catalog, catalog.folds[0])
    assert bool(found) == bool(common)
    if common:
        tested = sum(group in common for group in groups[3:])
        assert f"{len(common)} groups stand in training and in test ({', '.join(sorted(common))})" in found[0].text
        assert f"{tested} of 3 test videos" in found[0].text


@pytest.mark.parametrize("name", ["Walk/v_Walk_g02_c04.avi", "v_walk_g02_C04", "elsewhere/v_Walk_g02_c04.mp4"])
def test_a_test_video_that_the_backbone_learned_from(name):
    catalog = make_catalog()
    seen, related = find_learned_videos(catalog, catalog.folds[0], {"videos": [name]})
    assert "learned from 1 of 2 test videos (Walk/v_Walk_g02_c04.avi)" in seen.text
    assert "others of the groups of 1 of 2 test videos (Walk/v_Walk_g02_c05.avi)" in related.text
    assert {seen.kind, related.kind} == {"backbone"}


def test_a_backbone_that_learned_from_training_videos_only():
    catalog = make_catalog()
    found = look(catalog, {"videos": [video.name for video in catalog.videos[:4]]})
    assert found.leaks == ()
    assert any("4 videos that it learned from are named" in words for words in found.checked)


def test_weights_that_are_known_to_have_seen_ucf101_leak_where_it_is_tested():
    why = {"trained_on": "unknown", "ucf101": "they have seen most test videos"}
    (leak,) = look(make_catalog(), why).leaks
    assert leak == Leak("backbone", "1", "they have seen most test videos")
    own = make_catalog(names=[f"mine/{place}.mp4" for place in range(6)])
    assert look(own, why).leaks == ()


def test_what_a_features_file_says_of_its_network():
    catalog = make_catalog(backbone_videos=("v_Walk_g02_c04",))
    assert [leak.kind for leak in look(catalog).leaks] == ["backbone", "backbone"]
    assert [leak.kind for leak in look(make_catalog(leaks=("made by an unknown network",))).leaks] == ["origin"]
    assert any("does not say" in words for words in look(make_catalog()).checked)


def test_each_fold_is_looked_at():
    catalog = make_catalog()
    folds = (Fold("clean", (0, 1, 2, 3), (4, 5)), Fold("cut", (1, 2, 3, 5), (0, 4)))
    found = look(Catalog(catalog.class_names, catalog.videos, folds))
    assert {leak.fold for leak in found.leaks} == {"cut"}


def test_a_leak_stops_with_examples_and_the_way_out_unless_allowed():
    groups = [f"g{place}" for place in range(5)] * 2
    leaking = look(make_catalog(groups, train=range(5), test=range(5, 10)))
    with pytest.raises(ConfigError) as error:
        refuse_leaks(leaking, policy="refuse")
    for words in ("the test is not clean", "group: split 1: 5 groups", "(g0, g1, g2, ...)", "evaluation.leakage"):
        assert words in str(error.value)
    refuse_leaks(leaking, policy="mark")
    assert leaking.notes() == [f"Leakage: {leaking.leaks[0].text}"]
    many = Leakage(tuple(Leak("group", str(number), "text") for number in range(9)), ())
    with pytest.raises(ConfigError, match="and 6 more"):
        refuse_leaks(many, policy="refuse")


def move_something(seed, n=20):
    """Pictures of a place of noise before which a patch of noise moves."""
    rng = np.random.default_rng(seed)
    pictures = np.tile(rng.normal(0, 32, (SIDE, SIDE)).clip(-127, 127).astype(np.int8), (n, 1, 1))
    for time in range(n):
        pictures[time, 4 + time // 2 : 14 + time // 2, time : time + 8] = rng.integers(-100, 100, (10, 8))
    return pictures


def fingerprint_six():
    return [Fingerprint(str(place), move_something(place)) for place in range(6)]


def tell_copies(catalog, prints):
    found = zip(catalog.folds, find_duplicates(catalog, prints), strict=True)
    return [leak for fold, pairs in found for leak in tell_duplicates(catalog, fold, pairs)]


def test_copies_are_named_in_pairs_unless_their_group_tells():
    prints = fingerprint_six()
    prints[4] = Fingerprint("other", prints[1].pictures)
    prints[5] = Fingerprint("another", prints[2].pictures[:, :, ::-1])
    catalog = make_catalog()
    (leak,) = tell_copies(catalog, prints)
    assert (leak.kind, leak.fold) == ("duplicate", "1")
    assert "2 of 2 test videos look like training videos" in leak.text
    assert "v_Walk_g02_c04.avi like Walk/v_Walk_g00_c01.avi" in leak.text
    assert "v_Walk_g02_c05.avi like Walk/v_Walk_g01_c02.avi (mirrored)" in leak.text
    same = make_catalog(("a", "a", "b", "b", "a", "b"))
    assert tell_copies(same, prints) == []
    unknown = make_catalog((None,) * 6)
    assert len(tell_copies(unknown, prints)) == 1
    assert tell_copies(catalog, fingerprint_six()) == []


def test_the_same_content_is_found_whatever_it_shows():
    prints = [Fingerprint(str(place), None, NO_PATTERN) for place in range(6)]
    prints[4] = Fingerprint("0", None, "damaged")
    (leak,) = tell_copies(make_catalog(), prints)
    assert "1 of 2 test videos" in leak.text
    assert "v_Walk_g02_c04.avi like Walk/v_Walk_g00_c00.avi (the same content)" in leak.text


def test_each_fold_has_its_own_copies():
    prints = fingerprint_six()
    prints[5] = Fingerprint("other", prints[0].pictures)
    catalog = make_catalog(groups=(None,) * 6)
    folds = (
        Fold("both train", (0, 5, 1), (2, 3)),
        Fold("apart", (1, 2, 5), (0, 4)),
        Fold("in neither", (1, 4), (2, 5)),
    )
    leaks = tell_copies(Catalog(catalog.class_names, catalog.videos, folds), prints)
    assert [(leak.fold, "1 of 2 test videos" in leak.text) for leak in leaks] == [("apart", True)]


def test_what_could_not_be_compared_is_named_and_the_test_is_clean_as_far_as_compared(monkeypatch):
    prints = fingerprint_six()
    prints[0] = Fingerprint("x", None, NO_PATTERN)
    prints[3] = Fingerprint("y", None, "v.avi: the decoder hangs: given up after 300 s")
    monkeypatch.setattr(leakage, "fingerprint_videos", lambda *_: prints)
    catalog = make_catalog()
    videos = tuple(replace(video, path=Path(video.name)) for video in catalog.videos)
    found, pairs = leakage.examine_videos(
        replace(catalog, videos=videos), Config.model_construct(features=FeatureSettings())
    )
    assert pairs == [[]]
    names = ("Walk/v_Walk_g00_c00.avi", "Walk/v_Walk_g01_c03.avi")
    assert found.leaks == ()
    assert found.not_compared == names
    assert found.verdict == "clean as far as compared, 2 not compared"
    summary = found.to_dict()
    assert summary["clean"]
    assert summary["verdict"] == found.verdict
    assert summary["not_compared"] == list(names)
    (note,) = found.notes()
    assert found.verdict in note
    assert all(name in note for name in names)
    compared, plain, failed = found.checked
    assert compared == f"near-duplicates: 4 of 6 videos compared. {SEEN} {UNSEEN}"
    assert "1 videos show no pattern" in plain
    assert names[0] in plain
    assert "1 videos could not be read" in failed
    assert names[1] in failed
    assert Leakage((), ()).verdict == "clean"
    assert Leakage((Leak("group", "1", "text"),), (), names).verdict == "not clean"
    refuse_leaks(found, policy="refuse")


def test_the_page_shows_the_table_that_the_benchmark_wrote_into_the_results():
    docs = Path(__file__).parents[2] / "docs"
    section = (
        (docs / "results.md").read_text().partition("## What a leaking encoder is worth\n")[2].partition("\n## ")[0]
    )
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert "inflation, points" in table
    assert table in (docs / "explanation" / "leakage.md").read_text()


DIGESTS = [f"content {index}" for index in range(6)]


def begin_from(*videos, complete=True):
    """What the guard says of six videos, of which the last two of group c test, where training begins from weights."""
    return examine_weights(make_catalog(), DIGESTS, TrainedOn(tuple(videos), complete))


def test_weights_that_learned_from_a_test_video_are_told_by_its_content():
    (leak,) = begin_from(Member("other name.mp4", "other class", None, "content 4")).leaks
    assert (leak.kind, leak.fold) == ("weights", "1")
    assert leak.text == "training.weights learned from 1 of 2 test videos (Walk/v_Walk_g02_c04.avi)"
    with pytest.raises(ConfigError, match=r"weights: split 1: training\.weights learned from 1 of 2"):
        refuse_leaks(Leakage((leak,), ()), policy="drop", official=True)


def test_weights_that_learned_from_a_test_video_are_told_by_its_name_and_class():
    assert begin_from(Member("v_walk_g02_c05.mp4", "y")).leaks
    assert not begin_from(Member("v_walk_g02_c05.mp4", "x")).leaks


def test_weights_that_learned_from_a_group_of_the_test():
    mate, known = Member("gone.avi", "x", "c"), Member("Walk/v_Walk_g00_c00.avi", "x", "a", "content 0")
    (leak,) = begin_from(mate, known).leaks
    assert leak.text.startswith("training.weights learned from others of the groups of 1 of 2 test videos (Walk/")
    assert not begin_from(mate).leaks  # a group of the same name in another dataset
    assert not begin_from(known).leaks


def test_weights_of_unknown_origin_are_not_called_clean():
    found = examine_weights(make_catalog(), DIGESTS, UNKNOWN)
    assert found.verdict == "clean as far as compared, training.weights of unknown origin"
    assert any("a test video may be among it" in note for note in found.notes())
    assert replace(found, not_compared=("a", "b")).verdict == (
        "clean as far as compared, 2 not compared, training.weights of unknown origin"
    )
    whole = begin_from(Member("a"))
    assert whole.verdict == "clean"
    assert "the 1 videos that they learned from are named" in whole.checked[0]
