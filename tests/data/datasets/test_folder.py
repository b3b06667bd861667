import pytest

from snn_action.errors import ConfigError
from snn_action.registry import SettingsError

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
    lists = write_lists(root, train, ["box/person1_1.mp4"])
    with pytest.raises(ConfigError, match=r"split 1: 1 groups stand in training and in test \(1\)"):
        make_catalog("folder", root, group_pattern=PATTERN, **lists)
    with pytest.raises(ConfigError, match=r"test\.txt: 1 of 2 videos are not below .*: box/none\.mp4"):
        make_catalog("folder", root, **write_lists(root, train, ["box/none.mp4", "box/person2_0.mp4"]))
    with pytest.raises(ConfigError, match=r"box/person1_0\.mp4 is in .*train\.txt, too"):
        make_catalog("folder", root, **write_lists(root, train, train[:1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_pattern": "("}, "group_pattern: .*not a regular expression"),
        ({"group_pattern": "person"}, "no .group. that names"),
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
    assert catalog.notes == ("Never tested by this split: wave",)


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
