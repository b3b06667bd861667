import pytest

from snn_action.core.errors import ConfigError

SUBJECTS = ("daria", "denis", "eli")


@pytest.fixture
def root(tmp_path, videos):
    return videos.touch(tmp_path / "weizmann", *(f"{a}/{s}_{a}.avi" for a in ("bend", "run") for s in SUBJECTS))


def test_one_subject_is_left_out(make_catalog, root):
    catalog = make_catalog("weizmann", root)
    assert catalog.class_names == ("bend", "run")
    assert [fold.name for fold in catalog.folds] == list(SUBJECTS)
    for fold in catalog.folds:
        assert {catalog.videos[i].group for i in fold.test} == {fold.name}
        assert {catalog.videos[i].group for i in fold.train} == set(SUBJECTS) - {fold.name}
        assert len(fold.test) == 2


def test_one_fold(make_catalog, root):
    (fold,) = make_catalog("weizmann", root, split="eli").folds
    assert fold.name == "eli"
    with pytest.raises(ConfigError, match="no split 'ely'; did you mean 'eli'"):
        make_catalog("weizmann", root, split="ely")


def test_what_does_not_fit(make_catalog, root, videos):
    videos.touch(root, "jump/readme.txt")
    with pytest.raises(ConfigError, match="jump: holds no video"):
        make_catalog("weizmann", root)
    videos.touch(root, "jump/video.avi")
    with pytest.raises(ConfigError, match=r"video\.avi: expected <subject>_<action>"):
        make_catalog("weizmann", root)
    videos.touch(root.parent, "one/bend/eli_bend.avi", "one/run/eli_run.avi")
    with pytest.raises(ConfigError, match="1 subjects found"):
        make_catalog("weizmann", root.parent / "one")
