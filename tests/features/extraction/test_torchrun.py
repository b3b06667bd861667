"""Extraction under the elastic launcher: ranks share it, and one that is killed costs only its unfinished blocks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snn_action.config import load_config
from snn_action.features.store.store import FeatureStore
from snn_action.runs import pipeline
from tests.conftest import encode_videos, make_small_on_videos

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills")
# One launch for both tests: processes take most of the time to start. Each rank writes what it did. In the group's
# first life the second rank kills itself when it has written one block.
RANK = """
import json, os, signal, sys, time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch
from snn_action.core import distributed
from snn_action.runs import pipeline
from snn_action.config import load_config
from snn_action.features.extraction import extract, decoding, needs
from snn_action.features.extraction.failures import Failures
from snn_action.features.extraction.sharing import Sharing
life, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
written = []
finish = Sharing.finish
def note(sharing, reasons):
    written.extend(job.video.name for job in sharing.claims[0].jobs)
    finish(sharing, reasons)
    time.sleep(0.1)
    Path(sys.argv[2], f"{life}-{rank}").write_text(json.dumps(written))
    if life == "0" and rank == "1":
        os.kill(os.getpid(), signal.SIGKILL)
Sharing.finish = note
Path(sys.argv[2], f"ready-{rank}").touch()
while not all(Path(sys.argv[2], f"ready-{other}").exists() for other in range(2)):
    time.sleep(0.01)  # else the first rank to be up may do it all
summary = pipeline.load_data(load_config(sys.argv[1])).summary
Path(sys.argv[2], f"{life}-{rank}-summary").write_text(summary)
Sharing.finish = finish
"""
# Then those that are there at the end train together. The second rank sees less; then, it is through later and luckier.
# Each writes which videos it would train on.
RANK += """
second = rank == "1"

def unseen(told):
    def digest(paths, *rest, found=needs.digest_videos):
        lacks = [path.match("Left/v_g3.avi") for path in paths]
        found = found(paths, *rest)
        return [OSError(5, "no such disk") if lack else each for lack, each in zip(lacks, found, strict=True)]
    return [(needs, "digest_videos", digest)] if second else []

def luckier(told):
    run, read_video = extract._run, decoding.read_video
    def late(*arguments):
        while not (told / "through").exists():
            time.sleep(0.01)
        return run(*arguments)
    def read(path, *rest):
        if path.match("Left/v_g3.avi"):
            raise MemoryError
        return read_video(path, *rest)
    def early(*arguments):
        result = run(*arguments)
        assert result[2]
        (told / "through").touch()
        return result
    if second:  # reads nothing, as on a machine whose agent was started after the failure
        return [(Failures, "read", lambda *_: {}), (extract, "_run", late)]
    return [(decoding, "read_video", read), (extract, "_run", early)]

with distributed.group():
    for how in (unseen, luckier):
        told = Path(sys.argv[2], how.__name__)
        config = load_config(sys.argv[3], [f"features.store={told / 'store'}"])
        with ExitStack() as patches:
            for place, name, function in how(told):
                patches.enter_context(patch.object(place, name, function))
            data = pipeline.load_data(config)
        fold = data.catalog.folds[0]
        found = [data.catalog.videos[i].name for i in (*fold.learned, *fold.test)]
        (told / rank).write_text(json.dumps([found, data.features.video.tolist(), data.split.bad]))
"""


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ranks wrote in ``told``, and in ``unseen`` and ``luckier`` in it."""
    place = tmp_path_factory.mktemp("torchrun")
    videos, damaged = encode_videos(place / "videos"), encode_videos(place / "damaged")
    (damaged / "Left" / "v_g3.avi").write_bytes(b"garbage" * 100)
    features = {"store": str(place / "store"), "workers": 0}
    for name, folder, own in (("killed", damaged, {"shard_videos": 1}), ("together", videos, {})):
        config = make_small_on_videos(place, folder, {"max_bad_share": 0.2}, features={**features, **own})
        (place / f"{name}.json").write_text(json.dumps(config))
    for name in ("told", "told/unseen", "told/luckier"):
        (place / name).mkdir()
    (place / "rank.py").write_text(RANK)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("--max-restarts", "2", place / "rank.py", place / "killed.json", place / "told", place / "together.json"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    return place


def test_a_killed_rank_is_started_again_and_only_unfinished_blocks_are_done_again(launched: Path) -> None:
    told = launched / "told"
    lives = {path.name: json.loads(path.read_text()) for path in told.glob("?-?")}
    assert len(lives["0-1"]) == 1
    done = [name for names in lives.values() for name in names]
    assert len(done) == len(set(done))  # nothing twice
    # of the eleven that open; the first rank may have been stopped between finishing a block and telling
    assert len(done) >= 10
    summaries = [(told / f"1-{rank}-summary").read_text() for rank in (0, 1)]
    assert not (told / "0-1-summary").exists()
    for number, summary in enumerate(summaries, 1):
        assert summary.startswith(f"process {number} of 2: 12 videos: ")
        assert "1 left out" in summary
        assert "left out: Left/v_g3.avi: " in summary

    alone = load_config(launched / "killed.json", [f"features.store={launched / 'alone'}"])
    expected = pipeline.load_data(alone).features
    together = pipeline.load_data(load_config(launched / "killed.json")).features
    assert together.read(range(len(together)))[0].equal(expected.read(range(len(expected)))[0])
    store = FeatureStore(launched / "store")
    keys = [
        e["key"] for path in (launched / "store" / "shards").iterdir() for e in store.read_header(path.name)["entries"]
    ]
    assert len(keys) == len(set(keys)) == 11


def test_ranks_that_train_together_leave_out_the_same_videos(launched: Path) -> None:
    for how, left_out in (("unseen", 1), ("luckier", 0)):
        (names, clips, bad), other = (json.loads((launched / "told" / how / rank).read_text()) for rank in "01")
        assert other == [names, clips, bad]
        assert len(names) == 12 - left_out
        assert len(bad) == left_out
        assert all("no such disk" in reason for reason in bad.values())
