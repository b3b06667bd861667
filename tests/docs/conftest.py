"""A folder like a reader's, in which the commands and the code of the README and of the pages run."""

import json
import logging
import runpy
import shlex
import shutil
from pathlib import Path

import av
import pytest
import torch

from snn_action.backbones import weights
from snn_action.cli import examples
from snn_action.cli.commands import main
from snn_action.core.compat import torchvision
from snn_action.datasets.synthetic.generate import Plan, generate
from tests.docs.reading import CLASSES, PEOPLE, ROOT


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What a reader has: ``configs/`` (made small here), own videos, and weights that torchvision has downloaded."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for path in (folder / "configs").glob("*.json"):
        if path.name != "schema.json":
            path.write_text(json.dumps(make_small(json.loads(path.read_text(encoding="utf-8")))))
    make_videos(folder)
    checkpoints = folder / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    url = torchvision.models.MobileNet_V2_Weights.DEFAULT.url
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.mobilenet_v2().state_dict(), checkpoints / url.rpartition("/")[2])
    return folder


class _NoDigest:
    """Stands for the pattern of the digest in a published file's name: these weights are not the published ones."""

    @staticmethod
    def search(_: str) -> None:
        return None


def make_small(config: dict) -> dict:
    if config["dataset"]["type"] == "synthetic":
        config["dataset"] |= {"groups": 4, "clips_per_group": 1, "frames": 8, "size": 32}
    config["clip"] = {**config.get("clip", {}), "frames": 4}
    if config.get("backbone", {}).get("name") != "tiny":  # it takes one size only
        config["clip"]["size"] = 32
    config["features"] = {**config.get("features", {}), "workers": 0}
    config["training"] = {**config.get("training", {}), "epochs": 1}
    return config | {"device": "cpu", "report": {"clips": 1}}


def make_videos(folder: Path) -> None:
    generate(folder / "source", Plan(groups=4, clips=1, frames=8, size=32), workers=1)
    for name in CLASSES:  # called as in tutorials/own-videos.md
        (folder / "my_videos" / name).mkdir(parents=True)
        for person, path in zip(PEOPLE, sorted((folder / "source" / name).iterdir()), strict=True):
            shutil.copy(path, folder / "my_videos" / name / f"{person}_1.avi")
    with (
        av.open(folder / "source" / "Walk" / "v_Walk_g01_c01.avi") as source,
        av.open(folder / "new_video.mp4", "w") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


@pytest.fixture
def shell(workspace, monkeypatch, capsys):
    """Run a command in this process, as if typed in the workspace; its output is returned."""
    package = logging.getLogger("snn_action")
    level = package.level
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("TORCH_HOME", str(workspace / "torch"))
    monkeypatch.setattr(examples, "FOLDER", workspace / "configs")
    monkeypatch.setattr(weights, "_HASH", _NoDigest)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, *_, **__: pytest.fail(f"downloads {url}"))

    def run(words: list[str]) -> str:
        program, *rest = words
        program = program.removeprefix(".venv/bin/")
        if program == "snn-action":
            start = main
        elif program == "python" and rest[:1] == ["main.py"]:
            program, *rest = rest

            def start() -> None:
                runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
        else:
            pytest.fail(f"a command that this test does not know how to run: {shlex.join(words)}")
        monkeypatch.setattr("sys.argv", [program, *rest])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            start()
        printed = capsys.readouterr()
        assert end.value.code == 0, f"{shlex.join(words)}: exit code {end.value.code}\n{printed.out}\n{printed.err}"
        return printed.out

    yield run
    package.setLevel(level)
