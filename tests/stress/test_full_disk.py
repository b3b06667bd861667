"""A disk that fills up at any stage: the file is named, what was finished is kept, and ``--resume`` ends the same."""

import errno
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from snn_action.config import load_config
from snn_action.core import files
from snn_action.core.errors import WorkError
from snn_action.report import html
from snn_action.runs import folder as run_folder
from snn_action.runs import pipeline
from snn_action.training import history


@dataclass
class Disk:
    """A small disk: a file system of its own where this may be mounted, else one whose files cannot be written."""

    path: Path
    mounted: bool
    patch: pytest.MonkeyPatch

    def fill(self) -> None:
        if not self.mounted:
            self.patch.setattr(files, "_fill", self._refuse)
            return
        with (self.path / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536)

    def empty(self) -> None:
        self.patch.undo()
        (self.path / "ballast").unlink(missing_ok=True)

    def _refuse(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    try:
        mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], check=False).returncode
    except OSError:
        mounted = False
    with pytest.MonkeyPatch.context() as patch:
        yield Disk(path, mounted, patch)
    if mounted:
        subprocess.run(["umount", path], check=True)


STAGES = {
    "configuration": (run_folder, "write_begin", "environment.json"),
    "split": (pipeline, "write_split", "splits.json"),
    "checkpoint": (history, "write_checkpoint", r"checkpoints/best\.ckpt"),
    "later checkpoint": (history, "write_checkpoint", r"checkpoints/\w+\.ckpt"),
    "metrics": (pipeline, "write_predictions_csv", "predictions.csv"),
    "pictures": (pipeline, "write_examples", "examples.npz"),
    "figures": (html, "_list_figures", r"figures/\w+\.png"),
    "report": (html, "_render", "report.html"),
}


def without_times(metrics: dict) -> dict:
    return {key: value for key, value in metrics.items() if key not in ("seconds", "videos_per_second")}


WHOLE: list[dict] = []  # the metrics of a run on a disk with room


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_costs_nothing_that_was_finished(features_file, write_config, disk, stage, capfd):
    config = load_config(
        write_config({"type": "features", "path": str(features_file)}, save_dir=str(disk.path)),
        ["training.epochs=2", "evaluation.baseline=false"],
    )
    place, name, file = STAGES[stage]
    original, calls = getattr(place, name), []

    def fill_and_go_on(*words: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == (3 if stage == "later checkpoint" else 1):
            disk.fill()
        return original(*words, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, fill_and_go_on)
        with pytest.raises(WorkError) as error:
            pipeline.run(config, run_id="one")
    disk.empty()
    folder = disk.path / "test" / "one"
    assert re.match(rf"{folder}/{file}: .*No space left on device", str(error.value))
    assert not list(disk.path.rglob("*.tmp"))
    assert "Traceback" not in capfd.readouterr().err
    if stage == "configuration":
        assert str(error.value).endswith("nothing was begun: when that is fixed, run it again")
        assert not folder.exists()
        assert pipeline.run(config, run_id="one").metrics
        return
    end = f"snn-action {'report' if stage in ('figures', 'report') else 'run --resume'} {folder}"
    assert str(error.value).endswith(end)
    kept = (folder / "metrics.json").read_bytes() if (folder / "metrics.json").exists() else None
    assert (kept is not None) == (stage in ("pictures", "figures", "report"))
    resumed = pipeline.resume(folder).metrics
    if not WHOLE:
        WHOLE.append(pipeline.run(config, run_id="whole").metrics)
    assert without_times(resumed) == without_times(WHOLE[0])
    if stage in ("figures", "report"):
        assert (folder / "metrics.json").read_bytes() == kept  # only what was missing is made
    assert (folder / "report.html").is_file()
