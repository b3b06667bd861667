"""Every command in the README is run, word for word, in a folder where data and configurations are small."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.docs.reading import CLASSES, ROOT, fill_in, find_newest, read_blocks, split_commands

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = read_blocks(README)


def list_commands() -> list[list[str]]:
    return [words for block in BLOCKS if block.language == "bash" for words in split_commands(block.text)]


def is_make(words: list[str]) -> bool:
    return words[0] == "make"


def interrupt(run: Path) -> None:
    """Leave of a finished run what a kill right after its last epoch leaves."""
    for path in [run / "metrics.json", *run.rglob("trained")]:
        path.unlink()


def test_the_blocks_of_the_readme_are_of_kinds_that_are_run_here():
    assert BLOCKS
    assert {block.language for block in BLOCKS} <= {"bash", "python"}
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
        ready = fill_in(words)
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
        assert "mean-pool baseline" in printed
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
    blocks = [block.text for block in BLOCKS if block.language == "python"]
    assert blocks
    values: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), values)
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert values["model"].settings.order == 6
    assert "spiking_lmu" in printed
    assert values["spikes"].shape == (8, 100, 64)
    assert values["logits"].shape == (8, 28, 101)
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
