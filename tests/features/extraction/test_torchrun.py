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

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills")
# Each rank writes what it did. In the group's first life the second rank kills itself when it has written one block.
RANK = """
import json, os, signal, sys, time
from pathlib import Path
from snn_action.runs import pipeline
from snn_action.config import load_config
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
"""


def test_a_killed_rank_is_started_again_and_only_unfinished_blocks_are_done_again(
    video_config, video_set: Path, tmp_path: Path
) -> None:
    (video_set / "Left" / "v_g3.avi").write_bytes(b"garbage" * 100)
    config = video_config(
        {"max_bad_share": 0.2}, features={"store": str(tmp_path / "store"), "workers": 0, "shard_videos": 1}
    )
    script, told = tmp_path / "rank.py", tmp_path / "told"
    script.write_text(RANK)
    told.mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*launcher, "--max-restarts", "2", str(script), str(config), str(told)]
    ended = subprocess.run(
        words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
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

    alone = load_config(config, [f"features.store={tmp_path / 'alone'}"])
    expected = pipeline.load_data(alone).features
    together = pipeline.load_data(load_config(config)).features
    assert together.read(range(len(together)))[0].equal(expected.read(range(len(expected)))[0])
    store = FeatureStore(tmp_path / "store")
    keys = [
        e["key"] for path in (tmp_path / "store" / "shards").iterdir() for e in store.read_header(path.name)["entries"]
    ]
    assert len(keys) == len(set(keys)) == 11


# The second rank sees less, or is through later and luckier; each rank writes which videos it would train on.
DIFFERS = """
import json, os, sys, time
from pathlib import Path
from snn_action.core import distributed
from snn_action.runs import pipeline
from snn_action.config import load_config
from snn_action.features.extraction import extract, decoding, needs
from snn_action.features.extraction.failures import Failures
_, config, told, how = sys.argv
told, second = Path(told), os.environ["RANK"] == "1"
if how == "unseen" and second:
    digest_videos = needs.digest_videos
    def digest(paths, *rest):
        lacks = [path.match("Left/v_g3.avi") for path in paths]
        found = digest_videos(paths, *rest)
        return [OSError(5, "no such disk") if lack else each for lack, each in zip(lacks, found, strict=True)]
    needs.digest_videos = digest
if how == "luckier":
    run = extract._run
    if second:
        Failures.read = lambda *_: {}  # as on a machine whose agent was started after the failure
        def late(*arguments):
            while not (told / "through").exists():
                time.sleep(0.01)
            return run(*arguments)
        extract._run = late
    else:
        read_video = decoding.read_video
        def read(path, *rest):
            if path.match("Left/v_g3.avi"):
                raise MemoryError
            return read_video(path, *rest)
        decoding.read_video = read
        def early(*arguments):
            result = run(*arguments)
            assert result[2]
            (told / "through").touch()
            return result
        extract._run = early
with distributed.group():
    data = pipeline.load_data(load_config(config))
    fold = data.catalog.folds[0]
    found = [data.catalog.videos[i].name for i in (*fold.learned, *fold.test)]
    (told / os.environ["RANK"]).write_text(json.dumps([found, data.features.video.tolist(), data.split.bad]))
"""


@pytest.mark.parametrize(("how", "left_out"), [("unseen", 1), ("luckier", 0)])
def test_ranks_that_train_together_leave_out_the_same_videos(
    video_config, tmp_path: Path, how: str, left_out: int
) -> None:
    config = video_config({"max_bad_share": 0.2}, features={"store": str(tmp_path / "store"), "workers": 0})
    script, told = tmp_path / "differs.py", tmp_path / "told"
    script.write_text(DIFFERS)
    told.mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*launcher, str(script), str(config), str(told), how]
    ended = subprocess.run(
        words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    (names, clips, bad), other = (json.loads((told / rank).read_text()) for rank in "01")
    assert other == [names, clips, bad]
    assert len(names) == 12 - left_out
    assert len(bad) == left_out
    assert all("no such disk" in reason for reason in bad.values())
