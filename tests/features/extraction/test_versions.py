from dataclasses import replace

import numpy as np
import pytest
import torch

from snn_action.config import AugmentSettings, FrameAugmentSettings, TrainingSettings
from snn_action.core.errors import ConfigError, WorkError
from snn_action.datasets.catalog import Arrays, Fold
from snn_action.features import extract_features, prepare, read_contents
from snn_action.features.extraction.embed import embed
from snn_action.features.extraction.versions import check_versions, check_windows, extract_versions
from snn_action.video.decode import open_video
from snn_action.video.frame_augmentation import draw_frames
from snn_action.video.transforms import resize

FRAMES = FrameAugmentSettings(versions=2, flip=True)


def augmented(configure, clip=None, skip=False, **augment):
    config = configure(clip=clip or {})
    training = TrainingSettings(augment=AugmentSettings(**augment), skip=skip)
    return config.model_copy(update={"training": training})


@pytest.fixture
def extract(catalog, small):
    """The features of all clips with their versions; videos 0 to 3 train."""
    learning = replace(catalog, folds=(Fold("1", (0, 1), (4,), (2, 3)),))

    def run(config):
        prepare(small, config, "cpu")
        contents = read_contents(learning, config)
        done = extract_features(learning, config, small, "cpu", False, contents)
        return replace(
            done.features,
            versions=tuple(
                one.features for one in extract_versions(learning, config, small, "cpu", done.features, contents)
            ),
        )

    return run


def frames_of(path):
    source = open_video(path)
    return np.stack([*source.read(range(source.n_frames))])


def test_nothing_is_extracted_where_nothing_is_asked_for(configure, extract):
    assert extract(augmented(configure, noise=0.5)).versions == ()
    assert extract(augmented(configure, frames=FRAMES, skip=True)).versions == ()


def test_a_version_holds_the_same_clips_of_changed_frames(configure, extract, folders, small):
    config = augmented(configure, {"sampling": "sliding", "frames": 4}, frames=FRAMES, seed=5)
    features = extract(config)
    assert len(features.versions) == 2
    for number, version in enumerate(features.versions, 1):
        assert version.video.tolist() == features.video.tolist()
        tested = features.video == 4
        assert (version.length == np.where(tested, 0, features.length)).all()
        for clip in np.flatnonzero(~tested):
            video = int(features.video[clip])
            draw = draw_frames(FRAMES, 5, number, f"v{video}", sided=False)
            images = resize(np.stack([draw.apply(frame) for frame in frames_of(folders[video])]), 16)
            wanted = embed(small, images, 3, "32", "cpu")
            first = features.clips_of([video])[0]
            starts = [0, 4, 5] if video == 0 else [0, 4, 8]
            begin = starts[int(clip) - first]
            length = int(features.length[clip])
            torch.testing.assert_close(version.read([clip])[0][0], wanted[begin : begin + length], atol=1e-5, rtol=1e-5)


def test_all_frames_stand_for_each_clip_of_their_video(configure, extract, folders, small):
    features = extract(augmented(configure, {"sampling": "sliding", "frames": 4}, redraw=True))
    (every,) = features.versions
    for clip in range(len(features)):
        video = int(features.video[clip])
        frames = frames_of(folders[video])
        assert every.length[clip] == (0 if video == 4 else len(frames))
        if video != 4:
            wanted = embed(small, resize(frames, 16), 3, "32", "cpu")
            torch.testing.assert_close(every.read([clip])[0][0], wanted, atol=1e-5, rtol=1e-5)


def test_versions_are_kept_and_plain_features_are_not_made_anew(configure, extract, monkeypatch):
    config = augmented(configure, frames=FRAMES)
    first = extract(config)

    def refuse(*_):
        raise AssertionError("extracted again")

    monkeypatch.setattr("snn_action.features.extraction.extract.embed_clips", refuse)
    again = extract(config)
    for one, two in zip((first, *first.versions), (again, *again.versions), strict=True):
        clips = np.flatnonzero(one.length)
        assert torch.equal(one.read(clips)[0], two.read(clips)[0])
    with pytest.raises(AssertionError, match="extracted again"):
        extract(augmented(configure, frames=FRAMES, seed=1))


def test_a_video_that_is_gone_meanwhile_is_named(configure, catalog, small, folders):
    config = augmented(configure, redraw=True)
    prepare(small, config, "cpu")
    contents = read_contents(catalog, config)
    done = extract_features(catalog, config, small, "cpu", False, contents)
    for path in folders[1].iterdir():
        path.write_bytes(b"")
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"max_bad_share": 0.5})})
    with pytest.raises(WorkError, match=r"1 videos cannot be read any more: .*v1"):
        extract_versions(catalog, config, small, "cpu", done.features, contents)


def test_actions_where_left_and_right_matter_are_not_flipped(configure, catalog, small, monkeypatch):
    config = augmented(configure, frames=FrameAugmentSettings(versions=9, flip=True, left_right=("b",)))
    drawn = []
    monkeypatch.setattr(
        "snn_action.features.extraction.versions.draw_frames",
        lambda *given: drawn.append(given[3:]) or draw_frames(*given),
    )
    prepare(small, config, "cpu")
    contents = read_contents(catalog, config)
    done = extract_features(catalog, config, small, "cpu", False, contents)
    extract_versions(catalog, config, small, "cpu", done.features, contents)
    assert set(drawn) == {("v0", False), ("v1", True), ("v2", False), ("v3", True), ("v4", False)}


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ({"redraw": True}, r"augment\.redraw: the features of this dataset came with it.*false"),
        ({"frames": FRAMES}, r"augment\.frames\.versions: the features of this dataset came with it.*0"),
        ({"mix_streams": 0.5}, r"augment\.mix_streams: the features of this dataset came with it, as one stream"),
    ],
)
def test_frames_of_a_features_file_are_an_error(configure, catalog, augment, words):
    given = replace(catalog, arrays=Arrays(np.zeros((5, 2, 3)), np.full(5, 2), "f.npz"))
    with pytest.raises(ConfigError, match=words):
        check_versions(augmented(configure, **augment), given)
    check_versions(augmented(configure, noise=0.1), given)


@pytest.mark.parametrize(
    "name", ["turn_left", "RightHook", "moving right", "LEFT", "step-rightwards", "swipeleft", "TURNLEFT", "lefthand"]
)
def test_a_flip_of_actions_that_name_a_side_is_an_error(configure, catalog, name):
    sided = replace(catalog, class_names=(name, "bright_cleft_uprightFrighten"))
    flipped = {"versions": 2, "flip": True}
    with pytest.raises(ConfigError, match=f"left and right matter in '{name}': name them"):
        check_versions(augmented(configure, frames=FrameAugmentSettings(**flipped)), sided)
    check_versions(augmented(configure, frames=FrameAugmentSettings(**flipped, left_right=(name,))), sided)
    check_versions(augmented(configure, frames=FrameAugmentSettings(versions=2)), sided)


def test_an_action_that_is_not_there_is_an_error(configure, catalog):
    with pytest.raises(ConfigError, match=r"left_right: no class 'c'; Known: a, b"):
        check_versions(augmented(configure, frames=FrameAugmentSettings(left_right=("c",))), catalog)


def test_windows_of_frames_cannot_be_drawn_anew(configure, small):
    check_windows(augmented(configure, redraw=True), small)
    small.window = 16
    with pytest.raises(ConfigError, match="small sees windows of 16 frames"):
        check_windows(augmented(configure, redraw=True), small)
    check_windows(augmented(configure, frames=FRAMES), small)
