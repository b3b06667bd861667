"""Every command in the README is run, word for word, in a folder where data and configurations are small."""

import json
import logging
import re
import runpy
import shlex
import shutil
from pathlib import Path

import av
import pytest
import torch

from snn_action.backbones import weights
from snn_action.cli.commands import main
from snn_action.core.compat import torchvision
from snn_action.datasets.synthetic.generate import Plan, generate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CLASSES = ("Bow", "JumpingJack", "Walk")  # not two of one motion: their clips are copies of each other


def list_commands() -> list[list[str]]:
    lines = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_make(words: list[str]) -> bool:
    return words[0] == "make"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What a reader has: ``configs/`` (made small here), own videos, and weights that torchvision has downloaded."""
    folder = tmp_path_factory.mktemp("readme")
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
    return config | {"device": "cpu"}


def make_videos(folder: Path) -> None:
    generate(folder / "source", Plan(groups=4, clips=1, frames=8, size=32), workers=1)
    for name in CLASSES:
        shutil.copytree(folder / "source" / name, folder / "my_videos" / name)
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
    """Run a command of the README in this process, as if typed in the workspace; its output is returned."""
    package = logging.getLogger("snn_action")
    level = package.level
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("TORCH_HOME", str(workspace / "torch"))
    monkeypatch.setattr(weights, "_HASH", _NoDigest)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, *_, **__: pytest.fail(f"downloads {url}"))

    def run(words: list[str]) -> str:
        program, *rest = words
        if program == ".venv/bin/snn-action":
            start = main.main
        elif program == ".venv/bin/python" and rest[:1] == ["main.py"]:
            program, *rest = rest

            def start() -> None:
                runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
        else:
            pytest.fail(f"the README has a command that this test does not know how to run: {shlex.join(words)}")
        monkeypatch.setattr("sys.argv", [program, *rest])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            start()
        printed = capsys.readouterr()
        assert end.value.code == 0, f"{shlex.join(words)}: exit code {end.value.code}\n{printed.out}\n{printed.err}"
        return printed.out

    yield run
    package.setLevel(level)


def put_newest_run(words: list[str]) -> list[str]:
    """``save/my_videos/RUN`` stands for a run's folder: here the newest one."""
    return [str(find_newest(Path(word).parent)) if word.endswith("/RUN") else word for word in words]


def find_newest(parent: Path) -> Path:
    return max(parent.iterdir(), key=lambda run: (run.stat().st_mtime_ns, run.name))


def interrupt(run: Path) -> None:
    """Leave of a finished run what a kill right after its last epoch leaves."""
    for path in [run / "metrics.json", *run.rglob("trained")]:
        path.unlink()


def test_the_blocks_of_the_readme_are_of_kinds_that_are_run_here():
    assert BLOCKS
    assert {language for language, _ in BLOCKS} <= {"bash", "python"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_make_commands_are_targets_that_continuous_integration_runs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [words for words in list_commands() if is_make(words)]
    assert ["make", "demo"] in commands
    assert ["make", "test"] in commands
    for words in commands:
        assert shlex.join(words) in steps
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)


def test_every_other_command_runs_as_written(shell, workspace):
    commands = [words for words in list_commands() if not is_make(words)]
    assert len(commands) >= 5
    for words in commands:
        ready = put_newest_run(words)
        if "--resume" in ready:
            interrupt(Path(ready[ready.index("--resume") + 1]))
        printed = shell(ready)
        check_output(words, ready, printed)
    assert (find_newest(workspace / "save" / "my_videos") / "report.html").is_file()
    assert (find_newest(workspace / "save" / "demo") / "report.html").is_file()


def check_output(words: list[str], ready: list[str], printed: str) -> None:
    """What the README says of a command comes true."""
    if words[1] in ("run", "main.py", "evaluate"):
        assert "video accuracy" in printed
        assert "frame-average baseline" in printed
        assert Path(re.search(r"^report: (.*)$", printed, re.MULTILINE)[1]).is_file()
    elif words[1] == "train":
        folder = Path(re.search(r"^trained: (.*)$", printed, re.MULTILINE)[1])
        assert not (folder / "metrics.json").exists(), "the test set stays closed"
    elif words[1] == "predict" and "--json" in words:
        (result,) = json.loads(printed)
        assert {entry["class"] for entry in result["top"]} == set(CLASSES)
        assert ("over_time" in result) == ("--over-time" in words)
    elif words[1] == "predict":
        assert ready[-1] in printed
        assert "%" in printed
    elif words[1] == "schema":
        assert json.loads(printed) == json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8"))
    else:
        assert printed.strip(), words


def test_the_python_of_the_readme_runs(shell, workspace, capsys):
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert blocks
    for block in blocks:
        values: dict = {}
        exec(compile(block, "README.md", "exec"), values)
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert values["model"].settings.order == 6
    del shell, workspace


def find_claims() -> list[tuple[str, str]]:
    """Paragraphs and bullets of the README that point to a section of docs/results.md, with the section's text."""
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    sections = {}
    for section in re.split(r"^## ", results, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        sections[re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")] = section
    claims = []
    for paragraph in re.split(r"\n\n|\n(?=- )", README):
        anchors = re.findall(r"docs/results\.md#([\w-]+)", paragraph)
        if anchors:
            assert all(anchor in sections for anchor in anchors), anchors
            claims.append((paragraph, "\n".join(sections[anchor] for anchor in anchors)))
    return claims


@pytest.mark.parametrize(("claim", "section"), find_claims())
def test_every_measured_number_stands_in_the_table_that_is_named(claim, section):
    text = re.sub(r"\(docs/[^)]*\)|`[^`]*`", "", claim)
    numbers = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\w)", text)
    for number in numbers:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", section), f"{number} of: {claim}"


def test_claims_have_numbers():
    assert sum(bool(re.search(r"\d\.\d", claim)) for claim, _ in find_claims()) >= 4
