"""Files of the project that no other test reads say what is so: citation, changelog, container, hosted checks."""

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import snn_action
from snn_action.cli.commands import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = SpecifierSet(PROJECT["requires-python"])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def read_instructions() -> list[tuple[str, str]]:
    """The Dockerfile as pairs of instruction and argument."""
    text = re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE).replace("\\\n", "")
    lines = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(instruction, argument) for instruction, _, argument in lines]


def read_matrix() -> dict[str, list[str]]:
    (job,) = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    return job["strategy"]["matrix"]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (snn_action.__version__, PROJECT["license"])


def test_the_changelog_has_the_form_that_it_names():
    text = read("CHANGELOG.md")
    versions = re.findall(r"^## \[(.*?)\]", text, re.MULTILINE)
    assert versions[0] in ("Unreleased", snn_action.__version__)
    kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_import_paths_of_the_changelog_lead_to_modules():
    rows = re.findall(r"^  \| `.*?\| (`snn_action.*?) \|$", read("CHANGELOG.md"), re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        base = ""
        for name in re.findall(r"`([\w.*]+)`", row):
            name = name.removesuffix(".*")
            base = name if name.startswith("snn_action") else f"{base.rpartition('.')[0]}.{name}"
            path = ROOT / "src" / base.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), base


def test_the_container_copies_what_is_there_and_what_a_build_needs():
    copied = [word for kind, words in read_instructions() if kind == "COPY" for word in words.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "src", "configs", PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)
    ignored = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert allowed == set(copied)


def test_the_container_has_the_pinned_versions_and_a_python_that_is_tested():
    instructions = read_instructions()
    steps = [words for kind, words in instructions if kind == "RUN"]
    assert not re.findall(r"==\d", " ".join(steps)), "versions stand in constraints.txt alone"
    (names,) = re.findall(r"grep -E '\^\((.*?)\)==' constraints.txt", " ".join(steps))
    pinned = {Requirement(line).name for line in read("constraints.txt").splitlines() if not line.startswith("#")}
    assert set(names.split("|")) <= pinned
    assert any("-c constraints.txt ." in step for step in steps)
    (image,) = [words for kind, words in instructions if kind == "FROM"]
    (python,) = re.findall(r"^python:(\d+\.\d+)", image)
    assert python in read_matrix()["python"]


def test_the_container_runs_a_command_that_exists():
    words = {kind: argument for kind, argument in read_instructions() if kind in ("ENTRYPOINT", "CMD")}
    program, command = json.loads(words["ENTRYPOINT"]), json.loads(words["CMD"])
    assert set(program) == set(PROJECT["scripts"])
    assert command[0] in typer.main.get_group(app).commands


def test_hosted_checks_run_ours_on_every_python_from_the_oldest():
    matrix = read_matrix()
    assert all(PYTHONS.contains(version) for version in matrix["python"])
    assert f">={matrix['python'][0]}" == PROJECT["requires-python"]
    assert len({system.endswith("-arm") for system in matrix["system"]}) == 2, "both kinds of processor"
    (job,) = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_hooks_are_the_linters_of_make_lint():
    (_, recipe) = re.split(r"^lint:.*\n", read("Makefile"), flags=re.MULTILINE)
    wanted = [line.strip() for line in recipe.split("\n\n")[0].splitlines()]
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    hooks = [shlex.split(hook["entry"]) for hook in repository["hooks"]]
    assert len(hooks) == len(wanted)
    for words, line in zip(hooks, wanted, strict=True):
        expected = [word for word in line.replace("$(BIN)", ".venv/bin").split() if word not in (".", "--check")]
        assert [word for word in words if not word.startswith("--")] == expected


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_are_whole(name):
    form = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{name}.yml"))
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_files_that_are_pointed_to_exist():
    for name in ("CHANGELOG.md", ".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"):
        named = set(re.findall(r"(?<![\w/])[A-Z]{3,}\.md|configs/\w+\.md", read(name)))
        assert named
        assert all((ROOT / other).exists() for other in named), named


def test_patterns_leave_no_module_out_of_the_container():
    patterns = [line for line in read(".dockerignore").splitlines() if line.startswith("**/")]
    modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")]
    assert not [path for path in modules if any(fnmatch(path, pattern) for pattern in patterns)]
