import pytest

from snn_action.core.errors import ConfigError

WAVE = "Some_wave_of_mine_wave_u_nm_np1_fr_med_{}.avi"
RUN = "#20_Rhythm_&;_run_f_cm_np1_ba_bad_{}.avi"


@pytest.fixture
def root(tmp_path, videos):
    root, lists = tmp_path / "hmdb", tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for action, name in (("wave", WAVE), ("run", RUN)):
        videos.touch(root / action, *(name.format(k) for k in range(4)))
        for split in (1, 2, 3):
            sides = ("1", "2", "0", str(1 + split % 2))
            lines = [f"{name.format(k)} {side} " for k, side in enumerate(sides)]
            (lists / f"{action}_test_split{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_official_lists(make_catalog, root):
    catalog = make_catalog("hmdb51", root)
    assert catalog.class_names == ("run", "wave")
    (fold,) = catalog.folds
    assert {catalog.videos[i].name for i in fold.train} == {"wave/" + WAVE.format(0), "run/" + RUN.format(0)}
    assert {catalog.videos[i].name[-5] for i in fold.test} == {"1", "3"}
    assert not any(video.name.endswith("_2.avi") for video in catalog.videos)
    wave = next(video for video in catalog.videos if video.label == 1)
    assert wave.group == "Some_wave_of_mine"
    assert wave.path == root / wave.name
    assert next(video for video in catalog.videos if video.label == 0).group == "#20_Rhythm_&;"


def test_all_splits(make_catalog, root):
    folds = make_catalog("hmdb51", root, split="all").folds
    assert [fold.name for fold in folds] == ["1", "2", "3"]
    assert len(folds[1].train) == 4
    assert folds[0].train == folds[2].train


def test_what_does_not_fit(make_catalog, root):
    lists = root.parent / "testTrainMulti_7030_splits"
    (root / "run" / RUN.format(1)).unlink()
    with pytest.raises(ConfigError, match=r"1 of 6 videos are not below .*_bad_1\.avi"):
        make_catalog("hmdb51", root)
    (lists / "run_test_split1.txt").write_text("name.avi 3\n")
    with pytest.raises(ConfigError, match=r"run_test_split1\.txt, line 1: expected '<name>\.avi' and 0, 1 or 2"):
        make_catalog("hmdb51", root)
    (lists / "run_test_split1.txt").write_text("name.avi 1\nname.avi 2\n")
    with pytest.raises(ConfigError, match=r"line 2: 'name\.avi' stands in this list twice"):
        make_catalog("hmdb51", root)
    (lists / "run_test_split1.txt").unlink()
    with pytest.raises(ConfigError, match=r"run_test_split1\.txt: cannot be read"):
        make_catalog("hmdb51", root)
    with pytest.raises(ConfigError, match="holds no <class>_test_split"):
        make_catalog("hmdb51", root, lists=str(root))
