from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.data.catalog import Catalog, Fold, Video
from snn_action.data.perceptual import FRAMES, SIDE
from snn_action.errors import ConfigError
from snn_action.evaluation import leakage
from snn_action.evaluation.guard import refuse_leaks
from snn_action.evaluation.leakage import (
    NEAR,
    NOISE,
    PLAIN,
    SHARE,
    Leak,
    Leakage,
    compare,
    examine_split,
    find_common_groups,
    find_duplicates,
    find_learned_videos,
    tell_duplicates,
)


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


def draw(rng, contrast=40.0):
    return np.clip(rng.normal(128, contrast, (FRAMES, SIDE, SIDE)), 0, 255).astype(np.uint8)


def disturb(rng, hash_, deviation):
    return np.clip(hash_ + rng.normal(0, deviation, hash_.shape), 0, 255).astype(np.uint8)


@given(st.integers(0, 2**31), st.floats(0, 6), st.floats(0, 60))
def test_the_comparison_is_that_of_all_pairs(seed, deviation, contrast):
    rng = np.random.default_rng(seed)
    left = [draw(rng, contrast) for _ in range(6)]
    right = [disturb(rng, left[place], deviation) for place in (2, 0, 5)] + [draw(rng, contrast) for _ in range(3)]
    expected = []
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            distance = np.sqrt(((a.astype(float) - b) ** 2).mean())
            least = min(a.std(), b.std())
            if least >= PLAIN and distance <= min(NEAR, max(NOISE, SHARE * least)):
                expected.append((i, j))
    assert sorted(compare(left, right)) == expected


def test_more_videos_than_are_compared_at_once(monkeypatch):
    monkeypatch.setattr(leakage, "_ROWS", 4)
    rng = np.random.default_rng(0)
    left = [draw(rng) for _ in range(11)]
    assert list(compare(left, [disturb(rng, left[9], 1), disturb(rng, left[3], 1)])) == [(3, 1), (9, 0)]
    assert list(compare([], left)) == list(compare(left, [])) == []


def test_videos_that_look_alike_are_named_in_pairs_unless_their_group_tells():
    rng = np.random.default_rng(0)
    hashes = [draw(rng) for _ in range(6)]
    hashes[4], hashes[2] = disturb(rng, hashes[1], 1), None
    catalog = make_catalog()
    (leak,) = tell_duplicates(catalog, catalog.folds[0], find_duplicates(catalog, catalog.folds[0], hashes))
    assert leak.kind == "duplicate"
    assert "1 of 2 test videos look like training videos" in leak.text
    assert "v_Walk_g02_c04.avi like Walk/v_Walk_g00_c01.avi" in leak.text
    same = make_catalog(("a", "a", "b", "b", "a", "c"))
    assert find_duplicates(same, same.folds[0], hashes) == []
    unknown = make_catalog((None,) * 6)
    assert len(find_duplicates(unknown, unknown.folds[0], hashes)) == 1


def test_black_frames_are_like_nothing():
    black = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    assert list(compare([black], [black])) == []


def test_the_page_shows_the_table_that_the_benchmark_wrote_into_the_results():
    docs = Path(__file__).parents[2] / "docs"
    section = (
        (docs / "results.md").read_text().partition("## What a leaking encoder is worth\n")[2].partition("\n## ")[0]
    )
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert "inflation, points" in table
    assert table in (docs / "leakage.md").read_text()
