import errno
import logging
import os
import signal
import subprocess
import sys

import pytest
from filelock import FileLock

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.run_access import check_inside, hold, log_to, open_run

HOLDS = """
import os, sys, time
from pathlib import Path
from snn_action.core.run_access import hold
with hold(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)  # by the worker: only now has it let go of what it inherited
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "one" / "checkpoints").mkdir(parents=True)
    (tmp_path / "one" / "config.json").write_text("{}")
    return tmp_path / "one"


def test_the_log_is_written_inside_only(tmp_path):
    logger = logging.getLogger("snn_action.anything")
    package = logging.getLogger("snn_action")
    before = (package.level, list(package.handlers))
    with log_to(tmp_path / "run.log"):
        logger.info("inside")
    logger.info("outside")
    assert (package.level, list(package.handlers)) == before
    text = (tmp_path / "run.log").read_text()
    assert "INFO snn_action.anything: inside" in text
    assert "outside" not in text


def test_a_log_that_cannot_be_written_ends_no_work(tmp_path, caplog, capfd):
    with log_to(tmp_path / "nowhere" / "run.log"):
        pass
    assert "run.log: cannot be written: No such file" in caplog.text
    if os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        with log_to("/dev/full"):
            logging.getLogger("snn_action.anything").info("lost")
    assert capfd.readouterr().err == ""


def test_no_run_no_work(tmp_path):
    with pytest.raises(ConfigError, match="there is no such run folder"), open_run(tmp_path / "x", "run --resume"):
        pass
    with pytest.raises(ConfigError, match="nothing to continue; begin a new run"), open_run(tmp_path, "run --resume"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_refused_until_the_first_ends(folder):
    with hold(folder):
        with pytest.raises(WorkError, match=r"one: another process is at work in this run"), open_run(folder, "report"):
            pass
        assert not (folder / "run.log").exists()
    with hold(folder):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_kill_releases_the_lock_though_a_forked_worker_outlives_it(folder):
    child = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    worker = int(child.stdout.readline())
    try:
        with pytest.raises(WorkError, match="another process"), hold(folder):
            pass
        child.kill()
        child.wait()
        with hold(folder):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        child.stdout.close()


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_without_locks_it_is_said_and_goes_on(folder, monkeypatch, caplog, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(FileLock, "acquire", fail)
    done = []
    with hold(folder):
        done.append(True)
    assert done
    assert "cannot be locked" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("run.log", "trained", "splits.json", "metrics.json", "report.html", "examples.npz", "config.json", ".lock"),
        *("checkpoints/last.ckpt", "figures", "figures/confusion.png", "folds", "folds/1", "on", "on/x/metrics.json"),
        *("tensorboard", "csv", "folds/1/checkpoints"),
    ],
)
def test_links_out_of_the_folder_are_refused_by_name(folder, tmp_path, name):
    outside = tmp_path / "outside"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    with pytest.raises(ConfigError) as error:
        check_inside(folder)
    assert str(error.value) == f"{path}: a link, where this command would write; remove it"
    with pytest.raises(ConfigError), hold(folder):
        pass
    assert not outside.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")
def test_a_pipe_is_refused(folder):
    os.mkfifo(folder / "run.log")
    with pytest.raises(ConfigError, match=r"run\.log: no regular file"), open_run(folder, "report"):
        pass


def test_what_is_the_users_own_may_be_a_link(folder, tmp_path):
    (folder / "notes").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    with open_run(tmp_path / "link", "report"):
        pass
    assert (folder / "run.log").is_file()


def test_what_a_killed_process_left_half_written_is_swept_away_and_nothing_else(folder):
    (folder / "figures").mkdir()
    own = [
        *(".metrics.json.abcd_123.tmp", "checkpoints/.last.ckpt.0123abcd.tmp", "figures/.clip_12.png.abcdefgh.tmp"),
        ".run.log.abcdefgh.tmp",
    ]
    foreign = [".notes.txt.abcdefgh.tmp", ".metrics.json.tmp", ".metrics.json.abc.tmp", "figures/.x.png.abcdefgh.tmp"]
    for name in (*own, *foreign):
        (folder / name).write_bytes(b"half")
    with hold(folder):
        assert not [name for name in own if (folder / name).exists()]
        assert [name for name in foreign if (folder / name).exists()] == foreign


def test_what_the_system_refuses_is_said_with_the_way_out(folder):
    with pytest.raises(WorkError) as error, open_run(folder, "run --resume"):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "metrics.json"))
    assert str(error.value) == (
        f"{folder / 'metrics.json'}: No space left on device; what was finished is kept: when that is fixed, go on "
        f"with: snn-action run --resume {folder}"
    )
    assert str(error.value) in (folder / "run.log").read_text()
