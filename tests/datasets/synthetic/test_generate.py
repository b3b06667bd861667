"""The files of the synthetic set: layout, same bytes for the same seed, killed and resumed, bad places."""

import errno
import io
import os
import re
import shutil
import subprocess
import sys
import time

import av
import numpy as np
import pytest

from snn_action.core.errors import ConfigError, WorkError
from snn_action.datasets.synthetic.generate import LISTS, MANIFEST, VERSION, Plan, generate
from snn_action.datasets.synthetic.motions import ACTIONS, PAIRS
from snn_action.datasets.synthetic.video_file import encode_avi

PLAN = Plan(seed=7, groups=4, clips=1, frames=8, size=32)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def decode(data):
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("set") / "synthetic"
    generate(place, PLAN, workers=1)
    return place


def test_the_layout_is_ucf101s(folder):
    names = [name for name in content(folder) if name.endswith(".avi")]
    assert len(names) == 4 * len(ACTIONS)
    assert all(re.fullmatch(r"(\w+)/v_\1_g0[1-4]_c01\.avi", name) for name in names)
    lists = folder / LISTS
    assert (lists / "classInd.txt").read_text().splitlines()[:2] == ["1 Bow", "2 Clap"]
    tested = set()
    for split in (1, 2, 3):
        train = [line.split() for line in (lists / f"trainlist0{split}.txt").read_text().splitlines()]
        test = (lists / f"testlist0{split}.txt").read_text().splitlines()
        assert sorted([name for name, _ in train] + test) == sorted(names)
        assert all(ACTIONS[int(label) - 1].name == name.split("/")[0] for name, label in train)
        groups = {name[-11:-8] for name in test}
        assert not groups & {name[-11:-8] for name, _ in train}
        assert not groups & tested
        tested |= groups


def test_files_are_mpeg4_avi(folder):
    with av.open(str(folder / "Kick" / "v_Kick_g02_c01.avi")) as container:
        stream = container.streams.video[0]
        assert container.format.name == "avi"
        assert (stream.codec_context.name, stream.width, stream.height) == ("mpeg4", 32, 32)
        assert (stream.frames, stream.average_rate) == (8, 16)
        assert len(list(container.decode(stream))) == 8


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair_has_the_same_frames_in_its_files_in_another_order(folder, pair):
    for group in range(1, 5):
        one, two = (decode((folder / name / f"v_{name}_g{group:02d}_c01.avi").read_bytes()) for name in pair)
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[-1], two[-1])
        assert sorted(frame.tobytes() for frame in one) == sorted(frame.tobytes() for frame in two)
        assert (one != two).any()


def test_encoding_keeps_the_picture():
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, None, :, None], (3, 64, 64, 3))
    assert np.abs(decode(encode_avi(ramp, 16)).astype(int) - ramp).mean() < 3


def test_the_same_bytes_by_many_processes(folder, tmp_path):
    generate(tmp_path, PLAN, workers=2)
    assert content(tmp_path) == content(folder)


def test_a_clip_does_not_depend_on_how_many_others_there_are(folder, tmp_path):
    generate(tmp_path, Plan(seed=7, groups=5, clips=2, frames=8, size=32), workers=1)
    more = content(tmp_path)
    assert all(more[name] == data for name, data in content(folder).items() if name.endswith(".avi"))


def test_another_seed_gives_other_videos(folder, tmp_path):
    generate(tmp_path, Plan(seed=8, groups=4, clips=1, frames=8, size=32), workers=1)
    other = content(tmp_path)
    assert all(other[name] != data for name, data in content(folder).items() if name.endswith(".avi"))


def test_only_what_is_missing_is_generated(tmp_path):
    generate(tmp_path, PLAN, workers=1)
    before = content(tmp_path)
    for path in tmp_path.rglob("*.avi"):
        os.utime(path, (1, 1))
    lost = tmp_path / "Walk" / "v_Walk_g03_c01.avi"
    lost.unlink()
    stale, fresh = lost.with_name(".old.avi.12345678.tmp"), lost.with_name(".new.avi.12345678.tmp")
    for part in (stale, fresh):
        part.write_bytes(b"half")
    os.utime(stale, (1, 1))
    generate(tmp_path, PLAN, workers=1)
    assert not stale.exists()
    assert fresh.exists()  # another process may be writing it
    fresh.unlink()
    assert content(tmp_path) == before
    assert [path for path in tmp_path.rglob("*.avi") if path.stat().st_mtime != 1] == [lost]


def test_killed_it_leaves_whole_files_and_goes_on(folder, tmp_path):
    place = tmp_path / "set"
    code = (
        "import sys; from pathlib import Path; from snn_action.datasets.synthetic.generate import generate, Plan\n"
        "if __name__ == '__main__':\n"
        "    generate(Path(sys.argv[1]), Plan(seed=7, groups=4, clips=1, frames=8, size=32), workers=1)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(place)], stderr=subprocess.DEVNULL) as process:
        while not list(place.rglob("*.avi")):
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    whole = content(folder)
    left = {name: data for name, data in content(place).items() if name.endswith(".avi")}
    assert left
    assert all(whole[name] == data for name, data in left.items())
    generate(place, PLAN, workers=1)
    assert {n: d for n, d in content(place).items() if not n.endswith(".tmp")} == whole


def test_a_folder_with_another_set_is_refused_and_kept(folder):
    before = content(folder)
    with pytest.raises(ConfigError, match=f"other settings.*{MANIFEST}"):
        generate(folder, Plan(seed=8, groups=4, clips=1, frames=8, size=32))
    assert content(folder) == before


def test_a_set_of_an_older_generator_is_refused_and_kept(folder, tmp_path):
    place = tmp_path / "set"
    shutil.copytree(folder, place)
    manifest = place / MANIFEST
    manifest.write_text(manifest.read_text().replace(f'"generator": {VERSION}', f'"generator": {VERSION - 1}'))
    before = content(place)
    with pytest.raises(ConfigError, match="another version of the generator"):
        generate(place, PLAN)
    assert content(place) == before


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        generate(tmp_path, PLAN)
    assert list(content(tmp_path)) == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="not a folder"):
        generate(tmp_path / "file", PLAN)
    with pytest.raises(WorkError, match=r"file/below.*cannot write.*dataset\.path"):
        generate(tmp_path / "file" / "below", PLAN)


def test_a_full_disk_names_the_file_and_leaves_no_half_one(tmp_path, monkeypatch):
    sync = os.fsync

    def fill(descriptor):
        if len(list(tmp_path.rglob("*.avi"))) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(WorkError, match=r"v_Clap_g01_c01\.avi.*No space left"):
        generate(tmp_path, PLAN, workers=1)
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("*Clap_*"))
    assert len(list(tmp_path.rglob("*.avi"))) == 4
