import os
import unicodedata

import pytest

from snn_action.core.errors import ConfigError, VideoError
from snn_action.core.settings import SettingsError
from snn_action.video.opening import check_file

PATTERN = r"person(\d+)"


@pytest.fixture
def root(tmp_path, videos):
    names = (f"{action}/person{p}_{k}.mp4" for action in ("box", "clap") for p in range(1, 6) for k in range(2))
    return videos.touch(tmp_path / "mine", *names)


def groups(catalog, indices):
    return {catalog.videos[i].group for i in indices}


def test_the_default_is_a_seeded_share_of_videos(make_catalog, root):
    catalog = make_catalog("folder", root)
    (fold,) = catalog.folds
    assert len(fold.test) == 4
    assert catalog.videos[0].group == catalog.videos[0].name == "box/person1_0.mp4"
    assert make_catalog("folder", root).folds == catalog.folds
    assert any(make_catalog("folder", root, seed=seed).folds != catalog.folds for seed in range(1, 4))


def test_a_share_of_groups(make_catalog, root):
    catalog = make_catalog("folder", root, group_pattern=PATTERN, test_share=0.4)
    (fold,) = catalog.folds
    assert len(groups(catalog, fold.test)) == 2
    assert not groups(catalog, fold.test) & groups(catalog, fold.train)


@pytest.mark.parametrize("way", [{"test_share": 0.4}, {"folds": 3}])
def test_a_random_split_cuts_groups_only_where_a_key_insists_and_says_so(make_catalog, root, way):
    def find_cut(**options):
        catalog = make_catalog("folder", root, **way, **options)
        cut = [groups(catalog, fold.test) & groups(catalog, fold.train) for fold in catalog.folds]
        return any(cut), " ".join(catalog.notes)

    assert find_cut(group_pattern=PATTERN) == (False, "")
    cut, notes = find_cut(group_pattern=PATTERN, cut_groups=True)
    assert cut
    assert "cuts groups, as dataset.cut_groups asks" in notes
    cut, notes = find_cut()
    assert "takes each video for a group of its own, as dataset.group_pattern is not set" in notes


def test_named_groups(make_catalog, root):
    catalog = make_catalog("folder", root, group_pattern=PATTERN, test_groups=["2", "5"])
    assert groups(catalog, catalog.folds[0].test) == {"2", "5"}
    with pytest.raises(ConfigError, match="no video is of group '7'"):
        make_catalog("folder", root, group_pattern=PATTERN, test_groups=["7"])


def test_folds_of_groups(make_catalog, root):
    catalog = make_catalog("folder", root, group_pattern=PATTERN, folds=5)
    assert [fold.name for fold in catalog.folds] == ["1", "2", "3", "4", "5"]
    assert all(len(groups(catalog, fold.test)) == 1 for fold in catalog.folds)
    assert make_catalog("folder", root, group_pattern=PATTERN, folds=5, split=3).folds == catalog.folds[2:3]
    with pytest.raises(ConfigError, match="no split 6"):
        make_catalog("folder", root, group_pattern=PATTERN, folds=5, split=6)
    with pytest.raises(ConfigError, match="6 folds of 5 groups"):
        make_catalog("folder", root, group_pattern=PATTERN, folds=6)


def write_lists(root, train, test):
    paths = {"train_list": root.parent / "train.txt", "test_list": root.parent / "test.txt"}
    for path, names in zip(paths.values(), (train, test), strict=True):
        path.write_text("\n".join(names))
    return {key: str(path) for key, path in paths.items()}


def test_lists(make_catalog, root):
    train, test = ["box/person1_0.mp4", "clap/person1_0"], ["box/person2_0.mp4", "clap\\person2_1.mp4"]
    catalog = make_catalog("folder", root, **write_lists(root, train, test))
    (fold,) = catalog.folds
    assert [catalog.videos[i].name for i in fold.train] == ["box/person1_0.mp4", "clap/person1_0.mp4"]
    assert [catalog.videos[i].name for i in fold.test] == ["box/person2_0.mp4", "clap/person2_1.mp4"]
    with pytest.raises(ConfigError, match=r"test\.txt: 1 of 2 videos are not below .*: box/none\.mp4"):
        make_catalog("folder", root, **write_lists(root, train, ["box/none.mp4", "box/person2_0.mp4"]))
    with pytest.raises(ConfigError, match=r"box/person1_0\.mp4 is in .*train\.txt, too"):
        make_catalog("folder", root, **write_lists(root, train, train[:1]))


def test_an_entry_that_fits_two_files_names_both(make_catalog, root, videos):
    videos.touch(root, "box/person1_0.avi")
    with pytest.raises(ConfigError, match=r"train\.txt: box/person1_0 fits .*person1_0\.avi and .*person1_0\.mp4"):
        make_catalog("folder", root, **write_lists(root, ["box/person1_0", "clap/person1_0"], ["box/person2_0"]))
    lists = write_lists(root, ["box/person1_0.mp4", "clap/person1_0"], ["box/person2_0", "clap/person2_0"])
    assert len(make_catalog("folder", root, **lists).folds[0].train) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_lists_and_files_in_either_form(make_catalog, tmp_path, videos, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    root = videos.touch(
        tmp_path / "mine", *(unicodedata.normalize(form, f"\u00e0{c}/\u00e9{i}.mp4") for c in "ab" for i in (0, 1))
    )
    sides = ([unicodedata.normalize(other, f"\u00e0{c}/\u00e9{i}.mp4") for c in "ab"] for i in (0, 1))
    catalog = make_catalog("folder", root, **write_lists(root, *sides))
    assert [video.name for video in catalog.videos] == [f"\u00e0{c}/\u00e9{i}.mp4" for c in "ab" for i in (0, 1)]
    assert catalog.class_names == ("\u00e0a", "\u00e0b")
    assert (catalog.folds[0].train, catalog.folds[0].test) == ((0, 2), (1, 3))


def test_one_file_in_two_classes(make_catalog, root):
    (root / "clap" / "again.mp4").symlink_to(root / "box" / "person1_0.mp4")
    with pytest.raises(ConfigError, match=r"box/person1_0\.mp4 \(box\) and clap/again\.mp4 \(clap\) are one file"):
        make_catalog("folder", root)


def test_a_pipe_with_the_name_of_a_video_is_one_that_is_named_when_it_is_read(make_catalog, root):
    before = len(make_catalog("folder", root).videos)
    folder = next(place for place in sorted(root.iterdir()) if place.is_dir())
    os.mkfifo(folder / "pipe.avi")
    os.mkfifo(folder / "notes.txt")
    videos = make_catalog("folder", root).videos
    assert len(videos) == before + 1
    (pipe,) = [video.path for video in videos if video.path.name == "pipe.avi"]
    with pytest.raises(VideoError, match=r"pipe.avi: not a regular file \(a pipe, a device, a socket\)"):
        check_file(pipe)


def test_a_link_to_itself_is_a_video_that_is_named_when_it_is_read(make_catalog, root):
    (root / "box" / "loop").symlink_to(root / "box" / "loop")
    assert "box/loop" in [video.name for video in make_catalog("folder", root).videos]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_pattern": "("}, "group_pattern: .*not a regular expression"),
        ({"group_pattern": "person"}, "no .group. that names"),
        ({"cut_groups": True}, "cut_groups is for random splits"),
        ({"cut_groups": True, "group_pattern": PATTERN, "test_groups": ["1"]}, "cut_groups is for random splits"),
        ({"folds": 3, "test_share": 0.2}, "folds and test_share are different ways to split"),
        ({"train_list": "a.txt"}, "belong together"),
        ({"test_groups": ["1"]}, "test_groups needs group_pattern"),
        ({"test_share": 1.0}, "test_share"),
        ({"test_shares": 0.1}, "did you mean 'test_share'"),
    ],
)
def test_settings_that_do_not_fit(make_catalog, root, options, message):
    with pytest.raises(SettingsError, match=message):
        make_catalog("folder", root, **options)


def test_folders_of_frames_are_videos_and_empty_classes_are_named(make_catalog, root, videos):
    videos.write_frames(root / "wave" / "person1", 2)
    videos.write_frames(root / "wave" / "person2", 2)
    assert make_catalog("folder", root).class_names == ("box", "clap", "wave")
    (root / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: holds no video"):
        make_catalog("folder", root)


def test_a_class_that_is_never_tested_is_noted(make_catalog, root, videos):
    videos.touch(root, "wave/person1.mp4")
    catalog = make_catalog("folder", root)
    assert catalog.notes[0] == "Never tested by this split: wave"


def test_what_is_not_there(make_catalog, tmp_path, root):
    with pytest.raises(ConfigError, match="no such folder"):
        make_catalog("folder", tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not a folder"):
        make_catalog("folder", tmp_path / "file")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ConfigError, match="holds no class folders"):
        make_catalog("folder", tmp_path / "bare")
    with pytest.raises(ConfigError, match=r"finds no group in 'box/person1_0\.mp4'"):
        make_catalog("folder", root, group_pattern="actor(.)")
