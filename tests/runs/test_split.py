import json
from dataclasses import replace

import numpy as np
import pytest

from snn_action.core.errors import ConfigError, WorkError
from snn_action.datasets.catalog import Arrays, Catalog, Fold, Video, digest_features, draw_validation
from snn_action.runs.split import freeze
from snn_action.runs.split_file import FILE, read_split, write_split

NAMES = ("sit", "stand")


def make_catalog():
    videos = tuple(Video(f"{NAMES[i % 2]}/v{i}", i % 2, f"g{i // 2}") for i in range(12))
    return Catalog(NAMES, videos, (Fold("1", tuple(range(8)), (8, 9, 10, 11)), Fold("2", tuple(range(4, 12)), (0, 1))))


def decide(catalog=None, share=0.25):
    catalog = draw_validation(catalog or make_catalog(), share, 0.25, seed=0)
    digests = [f"digest of {video.name}" for video in catalog.videos]
    backbone = {"name": "tiny", "digest": "a" * 64, "size": 64}
    return catalog, freeze(catalog, digests, backbone=backbone, settings={"seed": 0}, bad={}), digests


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_what_is_read_is_what_was_decided(tmp_path, share):
    catalog, split, _ = decide(share=share)
    write_split(tmp_path, split)
    assert read_split(tmp_path) == split
    aligned = read_split(tmp_path).align(make_catalog())
    assert aligned == catalog
    for fold in aligned.folds:
        assert bool(fold.validation) == (share > 0)
        assert fold.baseline
        assert set(fold.baseline) <= set(fold.learned)


def test_what_came_later_is_left_out_wherever_it_stands():
    catalog, split, _ = decide()
    today = make_catalog()
    videos = (Video("sit/a new one", 0, "g0"), *reversed(today.videos))
    later = Catalog(NAMES, videos, (Fold("1", tuple(range(10)), (10, 11, 12)),))
    assert split.align(later).videos == catalog.videos
    assert split.align(later).folds == catalog.folds


def test_labels_follow_the_names_of_classes():
    catalog, split, _ = decide()
    today = make_catalog()
    videos = tuple(replace(video, label=1 - video.label) for video in today.videos)
    turned = replace(today, class_names=NAMES[::-1], videos=videos)
    assert split.align(turned).videos == catalog.videos
    assert split.align(turned).class_names == NAMES


@pytest.mark.parametrize(
    ("names", "words"),
    [(("sit", "up"), "gone: stand; new: up"), (("lie", *NAMES), "new: lie"), (("sit", "x"), "gone: stand; new: x")],
)
def test_other_classes_are_refused(names, words):
    _, split, _ = decide()
    with pytest.raises(ConfigError, match=words):
        split.align(replace(make_catalog(), class_names=names))


def test_a_video_that_is_gone_or_of_another_class_is_named():
    _, split, _ = decide()
    today = make_catalog()
    without = Catalog(NAMES, today.videos[1:], (Fold("1", (0, 1, 2, 3), (4, 5)),))
    with pytest.raises(ConfigError, match=r"1 of the 12 videos of this run are gone: sit/v0"):
        split.align(without)
    moved = replace(today, videos=(replace(today.videos[0], label=1), *today.videos[1:]))
    with pytest.raises(ConfigError, match=r"another class now: sit/v0 \(sit, now stand\)"):
        split.align(moved)


def test_other_content_is_named():
    catalog, split, digests = decide()
    split.check_contents(catalog, digests)
    with pytest.raises(ConfigError, match=r"content of 2 videos .*: sit/v2, stand/v3"):
        split.check_contents(catalog, [*digests[:2], "other", "another", *digests[4:]])
    with pytest.raises(WorkError, match=r"stand/v1: cannot be read any more: gone"):
        split.check_contents(catalog, [digests[0], OSError(2, "gone"), *digests[2:]])


def test_other_weights_are_refused_by_name_and_digest():
    _, split, _ = decide()
    split.check_backbone({"name": "tiny", "digest": "a" * 64, "size": 64})
    with pytest.raises(ConfigError, match=r"other weights of tiny .*digest bbbbbbbbbbbbbbbb, not aaaaaaaaaaaaaaaa"):
        split.check_backbone({"name": "tiny", "digest": "b" * 64, "size": 64})
    with pytest.raises(ConfigError, match=r"size is 32, but this run was trained with 64"):
        split.check_backbone({"name": "tiny", "digest": "a" * 64, "size": 32})


def test_features_are_known_by_their_values_without_padding():
    catalog = make_catalog()
    features = np.random.default_rng(0).normal(size=(12, 5, 3)).astype(np.float32)
    lengths = np.array([5, 3] * 6)
    given = replace(catalog, arrays=Arrays(features, lengths, "x.npz"))
    before = digest_features(given)
    features[1, 4] = np.nan
    assert digest_features(given) == before
    features[1, 2] += 1
    changed = [old != new for old, new in zip(before, digest_features(given), strict=True)]
    assert np.flatnonzero(changed).tolist() == [1]
    _, split, _ = decide(given)
    back = split.align(replace(given, videos=given.videos[::-1], arrays=Arrays(features[::-1], lengths[::-1], "x")))
    np.testing.assert_array_equal(back.arrays.features, features)
    np.testing.assert_array_equal(back.arrays.lengths, lengths)


def test_a_run_of_the_first_version_has_names_only(tmp_path):
    catalog, split, digests = decide()
    sides = ("name", "train", "validation", "test")
    folds = [{side: getattr(fold, side) for side in sides} for fold in split.folds]
    (tmp_path / FILE).write_text(json.dumps({"class_names": NAMES, "from_videos": True, "folds": folds}))
    old = read_split(tmp_path)
    aligned = old.align(make_catalog())
    assert {aligned.videos[i].name for i in aligned.folds[0].train} == set(split.folds[0].train)
    assert {video.group for video in aligned.videos} == {video.group for video in catalog.videos}
    old.check_contents(aligned, ["anything"] * len(digests))
    old.check_backbone({"name": "other", "digest": "any"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "broken"),
        ("[]", "broken"),
        ("{}", "broken"),
        ('{"version": 99}', "newer version"),
        ('{"class_names": ["a", "b"], "from_videos": true, "folds": []}', "do not fit together"),
        ("[" * 100_000, "broken"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, words):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=rf"splits\.json: .*{words}"):
        read_split(tmp_path)


def test_a_run_that_has_not_begun(tmp_path):
    with pytest.raises(ConfigError, match="not begun to train; continue it with: snn-action run --resume"):
        read_split(tmp_path)
