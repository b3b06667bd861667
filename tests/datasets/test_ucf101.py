import pytest

from snn_action.core.errors import ConfigError
from snn_action.core.settings import SettingsError

TRAIN = ("Archery/v_Archery_g02_c01.avi", "Archery/v_Archery_g03_c01.avi", "Handstand/v_HandStand_g02_c01.avi")
TEST = ("Archery/v_Archery_g01_c01.avi", "Handstand/v_HandStand_g01_c02.avi")


@pytest.fixture
def root(tmp_path, videos):
    root = videos.touch(tmp_path / "UCF-101", *TRAIN, *TEST, "Archery/v_Archery_g09_c01.avi")
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\r\n2 Handstand\r\n")
    numbers = {"Archery": 1, "Handstand": 2}
    for split, train, test in ((1, TRAIN, TEST), (2, TEST, TRAIN)):
        lines = [f"{name} {numbers[name.split('/')[0]]}" for name in train]
        (lists / f"trainlist{split:02}.txt").write_text("\n".join(lines))
        (lists / f"testlist{split:02}.txt").write_text("\n".join(test) + "\n")
    return root


def names(catalog, indices):
    return {catalog.videos[i].name for i in indices}


def test_official_lists(make_catalog, root):
    catalog = make_catalog("ucf101", root)
    assert catalog.class_names == ("Archery", "Handstand")
    assert [fold.name for fold in catalog.folds] == ["1"]
    assert names(catalog, catalog.folds[0].train) == set(TRAIN)
    assert names(catalog, catalog.folds[0].test) == set(TEST)
    video = next(video for video in catalog.videos if video.name == TEST[1])
    assert (video.label, video.group, video.path) == (1, "Handstand_g01", root / TEST[1])


def test_all_splits_share_their_videos(make_catalog, root):
    catalog = make_catalog("ucf101", root, split="all")
    assert [fold.name for fold in catalog.folds] == ["1", "2"]
    assert len(catalog.videos) == 5
    assert catalog.folds[0].train == catalog.folds[1].test
    assert make_catalog("ucf101", root, split=2).folds[0].name == "2"


def test_names_are_matched_without_case_and_may_be_folders_of_frames(make_catalog, root, videos):
    (root / TEST[1]).unlink()
    frames = videos.write_frames(root / "Handstand" / "v_Handstand_g01_c02", 2)
    (root / TRAIN[0]).unlink()
    flat = videos.write_frames(root / "v_Archery_g02_c01", 2)
    found = {video.name: video.path for video in make_catalog("ucf101", root).videos}
    assert found[TEST[1]] == frames
    assert found[TRAIN[0]] == flat


def test_lists_may_lie_elsewhere_or_inside(make_catalog, root):
    lists = root.parent / "ucfTrainTestlist"
    lists = lists.rename(root / "ucfTrainTestlist")
    expected = make_catalog("ucf101", root)
    lists = lists.rename(root.parent / "other")
    assert make_catalog("ucf101", root, lists=str(lists)) == expected
    with pytest.raises(ConfigError, match=r"ucfTrainTestlist: no such folder; set dataset\.lists"):
        make_catalog("ucf101", root)


def test_a_subset_of_classes(make_catalog, root):
    (root.parent / "ucfTrainTestlist" / "classInd.txt").write_text("1 Archery\n2 Handstand\n3 Zebra\n")
    catalog = make_catalog("ucf101", root, classes=["Handstand", "Archery"])
    assert catalog.class_names == ("Archery", "Handstand")
    with pytest.raises(ConfigError, match=r"dataset\.classes: .* no class 'Archer'; did you mean 'Archery'"):
        make_catalog("ucf101", root, classes=["Archer"])
    with pytest.raises(ConfigError, match="at least two classes"):
        make_catalog("ucf101", root, classes=["Archery"])


def test_entries_without_a_file_are_named_and_counted(make_catalog, root):
    for name in TRAIN[:2]:
        (root / name).unlink()
    with pytest.raises(ConfigError, match=r"2 of 5 videos are not below .*v_Archery_g02_c01\.avi.*dataset\.classes"):
        make_catalog("ucf101", root)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classInd.txt", "1 Archery\n3 Handstand\n", r"classInd\.txt, line 2: expected '2 <class name>'"),
        ("classInd.txt", "1 Archery\n", "line 3: class 'Handstand' is not in classInd.txt"),
        ("trainlist01.txt", "Archery/v_Archery_g02_c01.avi 2\n", "line 1: class 'Archery' is 1, not '2'"),
        ("trainlist01.txt", "v_Archery_g02_c01.avi 1\n", r"trainlist01\.txt, line 1: expected '<Class>/"),
        ("testlist01.txt", "", r"testlist01\.txt: this list is empty"),
        ("testlist01.txt", TRAIN[0], "1 videos train and test"),
    ],
)
def test_lists_that_do_not_fit(make_catalog, root, file, text, message):
    (root.parent / "ucfTrainTestlist" / file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_catalog("ucf101", root)


def test_what_is_not_there(make_catalog, root, tmp_path):
    with pytest.raises(ConfigError, match=r"none: no such folder; set dataset\.path"):
        make_catalog("ucf101", tmp_path / "none")
    with pytest.raises(ConfigError, match=r"trainlist03\.txt: cannot be read"):
        make_catalog("ucf101", root, split=3)
    with pytest.raises(SettingsError, match="split"):
        make_catalog("ucf101", root, split=4)
    for file in (root.parent / "ucfTrainTestlist").glob("train*"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"holds no trainlist01\.txt"):
        make_catalog("ucf101", root, split="all")
