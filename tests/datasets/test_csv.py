import pytest

from snn_action.core.errors import ConfigError

HEADER = "path,label,group,split\n"


@pytest.fixture
def table(tmp_path, videos):
    videos.touch(tmp_path, *(f"videos/{k}.mp4" for k in range(6)))
    return tmp_path / "table.csv"


def write(table, *rows, header=HEADER):
    table.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return table


TRAIN_TEST = (
    "videos/0.mp4,wave,a,train",
    "videos/1.mp4,box,b,train",
    '"videos/2.mp4", wave ,c,test',
    "videos/3.mp4,box,c,test",
)


def test_train_and_test(make_catalog, table):
    catalog = make_catalog("csv", write(table, *TRAIN_TEST))
    assert catalog.class_names == ("box", "wave")
    assert [video.label for video in catalog.videos] == [1, 0, 1, 0]
    assert [video.group for video in catalog.videos] == ["a", "b", "c", "c"]
    assert catalog.videos[2].path == table.parent / "videos/2.mp4"
    assert catalog.folds[0].train == (0, 1)
    assert catalog.folds[0].test == (2, 3)


def test_folds_without_groups_and_a_byte_order_mark(make_catalog, table):
    rows = [f"videos/{k}.mp4,{'wb'[k % 2]},{k // 2 + 1}" for k in range(6)]
    write(table, *rows, header="\ufeffpath, label, split\n")
    catalog = make_catalog("csv", table)
    assert [fold.name for fold in catalog.folds] == ["1", "2", "3"]
    assert {video.group for video in catalog.videos} == {None}
    for split in (2, "2"):
        (fold,) = make_catalog("csv", table, split=split).folds
        assert fold.test == (2, 3)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ((), HEADER, "the table names no video"),
        ((), "", "line 1: no column path, label, split"),
        (TRAIN_TEST, "path,label,group,part\n", "line 1: no column split"),
        ((*TRAIN_TEST, "videos/4.mp4,wave"), HEADER, "line 6: more or fewer fields"),
        ((*TRAIN_TEST, "videos/4.mp4,wave,d,test,x"), HEADER, "line 6: more or fewer fields"),
        ((*TRAIN_TEST, "videos/4.mp4,,d,test"), HEADER, "line 6: label is empty"),
        ((*TRAIN_TEST, TRAIN_TEST[1]), HEADER, r"line 6: videos/1\.mp4 stands in line 3, too"),
        ((*TRAIN_TEST, "videos/9.mp4,wave,d,test"), HEADER, r"1 of 5 videos are not below .*9\.mp4 \(line 6\)"),
        ((*TRAIN_TEST, "videos/4.mp4,wave,d,3"), HEADER, "'test' beside names of folds"),
        ((*TRAIN_TEST, "videos/4.mp4,jump,d,test"), HEADER, "never trained: jump"),
        (('"videos/0.mp4,wave,a,train',), HEADER, "not a table"),
    ],
)
def test_tables_that_do_not_fit(make_catalog, table, rows, header, message):
    with pytest.raises(ConfigError, match=message):
        make_catalog("csv", write(table, *rows, header=header))


def test_a_column_twice_and_a_video_twice(make_catalog, table):
    rows = [row + ",x" for row in TRAIN_TEST]
    with pytest.raises(ConfigError, match=r"line 1: column label is there twice"):
        make_catalog("csv", write(table, *rows, header="path,label,group,split,label\n"))
    for again in ("./videos/1.mp4", "videos/../videos/1.mp4"):
        with pytest.raises(ConfigError, match=r"line 6: .* stands in line 3, too, as 'box' and not 'wave'"):
            make_catalog("csv", write(table, *TRAIN_TEST, f"{again},wave,d,test"))
    (table.parent / "link.mp4").symlink_to(table.parent / "videos/1.mp4")
    with pytest.raises(ConfigError, match=r"videos/1\.mp4 \(box\) and link\.mp4 \(wave\) are one file"):
        make_catalog("csv", write(table, *TRAIN_TEST, "link.mp4,wave,d,test"))


def test_names_in_either_form_and_with_a_line_break(make_catalog, table, videos):
    videos.touch(table.parent, "videos/e\u0301.mp4", "videos/a\nb.mp4")
    rows = (*TRAIN_TEST, "videos/\u00e9.mp4,wave,d,test", '"videos/a\nb.mp4",box,d,test')
    catalog = make_catalog("csv", write(table, *rows))
    assert [video.name for video in catalog.videos[4:]] == ["videos/\u00e9.mp4", "videos/a\\nb.mp4"]
    assert all(video.path.exists() for video in catalog.videos)


def test_a_split_in_capitals_is_one_fold(make_catalog, table):
    (fold,) = make_catalog("csv", write(table, *(row.replace("train", "Train") for row in TRAIN_TEST))).folds
    assert (fold.train, fold.test) == ((0, 1), (2, 3))


def test_files_that_are_no_table(make_catalog, table):
    with pytest.raises(ConfigError, match=r"table\.csv: cannot be read: .*set dataset\.path"):
        make_catalog("csv", table)
    table.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="not a table"):
        make_catalog("csv", table)
