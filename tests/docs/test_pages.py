"""Every block of the documentation's pages is run or checked; a block that cannot be says why, on the line above it.

Commands of the tutorials are run one after another, other commands of ours are checked: their options, and that their
configuration and overrides fit. Python runs, the blocks of a page as one program. JSON and TOML must mean something.
"""

import json
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from torch.distributed.run import get_args_parser

from snn_action.cli.commands import app
from snn_action.cli.examples import find_example
from snn_action.config import load_config, make_config, make_schema, override, read_file
from snn_action.core import registry
from tests.docs.reading import ROOT, Block, fill_in, read_blocks, split_commands

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): read_blocks(path.read_text(encoding="utf-8")) for path in DOCS.rglob("*.md")}
OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md", "configs/README.md")
TEXTS = [*DOCS.rglob("*.md"), *(ROOT / name for name in OUTSIDE)]
REASONS = {
    "network": "it downloads or installs packages",
    "shell": "it changes the reader's own shell or environment",
    "Docker": "it needs a Docker daemon",
    "cluster": "it needs SLURM",
    "UCF101": "it needs videos that may not be shipped",
    "endless": "it ends when the reader stops it",
    "files of 2020": "tests/original_2020 and tests/test_seed_run.py run such files",
}
LANGUAGES = {"bash", "python", "json", "toml", "text"}
OF_RUNS = {"tutorials/own-videos.md", "how-to/live.md", "how-to/loggers.md"}  # their Python needs the tutorials
# Keys of JSON files beside weights; all other JSON is part of a configuration
PROVENANCE = {"trained_on", "videos"}


def list_blocks(language: str) -> list[tuple[str, Block]]:
    return [(page, block) for page, blocks in PAGES.items() for block in blocks if block.language == language]


def list_commands() -> list[tuple[str, list[str]]]:
    blocks = [(page, block) for page, block in list_blocks("bash") if block.reason is None]
    return [(page, words) for page, block in blocks for words in split_commands(block.text)]


def show(value: object) -> str:
    return value if isinstance(value, str) else shlex.join(value) if isinstance(value, list) else ""


def test_every_block_is_of_a_kind_that_is_run_or_checked_here():
    for page, blocks in PAGES.items():
        text = (DOCS / page).read_text(encoding="utf-8")
        assert text.count("```") == 2 * len(blocks), page
        assert text.count("<!-- not run:") == sum(block.reason is not None for block in blocks), page
        for block in blocks:
            assert block.language in LANGUAGES, page
            assert block.reason is None or (block.reason in REASONS and block.language == "bash"), page


def test_every_reason_is_needed():
    assert {block.reason for blocks in PAGES.values() for block in blocks if block.reason} == set(REASONS)


def test_commands_stand_in_blocks():
    """An indented block would be run by nobody."""
    for path in TEXTS:
        prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert not re.findall(r"^ {4}(?:snn-action|torchrun|python|make) .*", prose, re.MULTILINE), path


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_short(path):
    """Rows of a table cannot be broken."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_from_outside_of_the_site_lead_somewhere(name):
    """Those between pages are checked when the site is built."""
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", (ROOT / name).read_text(encoding="utf-8"))
    for target, anchor in links:
        path = (ROOT / name).parent / target
        assert path.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], anchor


def test_the_index_names_every_example():
    section = (DOCS / "index.md").read_text(encoding="utf-8").partition("## Examples")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(path.stem for path in ROOT.glob("examples/*.py"))


@pytest.mark.parametrize(("page", "words"), list_commands(), ids=show)
def test_a_command_is_one_that_there_is(page, words, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    if words[0] == "torchrun":
        parsed = get_args_parser().parse_args(words[1:])
        assert parsed.module
        words = [parsed.training_script, *parsed.training_script_args]
        assert words[0] == "snn_action"
    assert words[0] in ("snn-action", "snn_action"), page
    check_usage(words[1:])


def test_the_tables_of_keys_are_complete():
    schema = make_schema()
    tables = runpy.run_path(str(ROOT / "scripts" / "configuration_keys.py"))["write_tables"](schema)
    cells = re.findall(r"^\| `([\w.]+)` \|", tables, re.MULTILINE)
    keys = {key.rpartition(".")[2] for key in cells}
    wanted = {key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})}
    assert keys | set(schema["properties"]) | {"type", "augment", "limits", "loss", "pickles", "rates"} >= wanted
    items = [name.partition("_")[2] for name in schema["$defs"] if name.partition("_")[0] in registry.REGISTRY]
    assert all(f": `{item}`\n" in tables for item in items)


def test_the_table_of_commands_is_complete():
    table = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8").partition("## Common options")[0]
    names = set(re.findall(r"^\| `([a-z -]+)` \|", table, re.MULTILINE))
    assert names == set(list_names(typer.main.get_command(app)))


def list_names(group, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        found += list_names(command, f"{name} ") if hasattr(command, "commands") else [prefix + name]
    return found


def check_usage(words: list[str]) -> None:
    """Find out what calling a command would: whether it and its options exist, and whether its configuration fits.

    Raises:
        Exception: Typer's, where it is not used like this.
        ConfigError: the configuration does not fit.
    """
    command = typer.main.get_command(app)
    called: list[dict] = []
    replace_callbacks(command, lambda **values: called.append(values))
    command.main(words, standalone_mode=False)
    if words == ["--version"]:
        return
    (values,) = called
    file = values.get("config") or (values["path"] if values.get("override") and "path" in values else None)
    if file is not None:
        if Path(file).parent == Path():  # the tutorials have it written by ``init``
            file = find_example(Path(file).stem)
        load_config(file, values.get("override") or ())


def replace_callbacks(group, callback) -> None:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            replace_callbacks(command, callback)
        else:
            command.callback = callback


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rum", "No such command"),
        ("run --confg x.json", "No such option"),
        ("predict RUN", "Missing"),
        ("store inform", "No such command"),
        ("run -c nowhere.json", "nowhere"),
    ],
)
def test_a_wrong_command_is_found(words, said):
    with pytest.raises(Exception, match=said):
        check_usage(words.split())


def test_the_commands_of_the_tutorials_run_as_written(shell):
    for page in ("tutorials/first-run.md", "tutorials/own-videos.md"):
        for block in PAGES[page]:
            if block.language == "python":
                run_python(page, block.text, {})
            elif block.language == "bash" and block.reason is None:
                for words in split_commands(block.text):
                    if words == ["make", "demo"]:
                        words = ["snn-action", "run", "-c", "configs/config.json"]
                    printed = shell(fill_in(words))
                    assert printed.strip(), words
    for page in ("how-to/live.md", "how-to/loggers.md"):  # what they read is of a run
        for block in PAGES[page]:
            if block.language == "python":
                run_python(page, block.text, {})
    assert Path("comparison.html").is_file()


@pytest.mark.parametrize("page", sorted({page for page, _ in list_blocks("python")} - OF_RUNS))
def test_the_python_of_a_page_runs(page, tmp_path, install, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install(PAGES[page])
    values: dict = {}
    for block in PAGES[page]:
        if block.language == "python" and not find_file(block):
            run_python(page, block.text, values)


def run_python(page: str, text: str, values: dict) -> None:
    exec(compile(text, page, "exec"), values)


def find_file(block: Block) -> str | None:
    """The file that a reader is asked to write: its name is the first line, as a comment."""
    match = re.match(r"# (my_package/\w+\.py)\n", block.text)
    return match[1] if match else None


@pytest.fixture
def install(tmp_path, monkeypatch):
    """What ``pip install`` of a page's package does: its modules can be imported, its entry points are found."""
    monkeypatch.setattr(registry, "_defined", {})  # what other pages defined

    def place(blocks: list[Block]) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:  # another page's
            monkeypatch.delitem(sys.modules, name)
        for block in blocks:
            if name := find_file(block):
                path = tmp_path / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            if block.language == "toml":
                metadata = tmp_path / "my_package-0.1.0.dist-info"
                metadata.mkdir()
                (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1.0\n")
                groups = tomllib.loads(block.text)["project"]["entry-points"]
                lines = [f"[{group}]\n{item} = {value}\n" for group in groups for item, value in groups[group].items()]
                (metadata / "entry_points.txt").write_text("".join(lines))
        monkeypatch.syspath_prepend(tmp_path)  # forgets what was found before
        registry._plugins.cache_clear()

    yield place
    registry._plugins.cache_clear()


@pytest.mark.parametrize(("page", "block"), list_blocks("json"), ids=show)
def test_json_fits(page, block, workspace, install):
    raw = json.loads(block.text)
    if raw.keys() == PROVENANCE:
        return
    install(PAGES[page])
    base = read_file(workspace / "configs" / "config.json")
    make_config({**base, **raw})
    with pytest.raises(Exception, match="unknown key"):
        make_config(override({**base, **raw}, ["model.no_such_key=1"]))


def test_a_dataset_of_the_guide_finds_its_videos(tmp_path, install):
    """The module of docs/how-to/own-dataset.md, on files that are named as it says."""
    install(PAGES["how-to/own-dataset.md"])
    folder = tmp_path / "my_folder"
    folder.mkdir()
    example = registry.find_settings("dataset", "flat").make_example(folder)
    catalog = registry.parse("dataset", {"type": "flat", **example}).build(0)
    (fold,) = catalog.folds
    assert catalog.class_names == ("run", "walk")
    assert {catalog.videos[i].group for i in fold.test} == {"anna"}
    assert {catalog.videos[i].group for i in fold.train} == {"ben"}


def test_the_neuron_of_the_guide_is_that_of_the_example():
    (module,) = (block for block in PAGES["how-to/own-neuron.md"] if find_file(block))
    lines = module.text.partition("\n")[2]
    assert lines in (ROOT / "examples" / "own_neuron.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "name"), [("neuron", "qif"), ("model", "gru"), ("dataset", "flat"), ("backbone", "edges")]
)
def test_an_item_of_a_guide_is_found_by_its_entry_point(kind, name, install):
    assert name not in registry.list_items(kind)
    install(PAGES[f"how-to/own-{kind}.md"])
    assert name in registry.list_items(kind)
    assert f"{kind}_{name}" in make_schema()["$defs"]


@pytest.mark.parametrize(
    ("module", "name", "argument"),
    [("snn.neurons.lif", "LIF", "tau_rc"), ("models.ensemble_array", "EnsembleArray", "n_neurons")],
)
def test_the_pages_of_the_api_show_arguments(module, name, argument):
    griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")
    extension = runpy.run_path(str(ROOT / "scripts" / "class_arguments.py"))["Arguments"]()
    extensions = griffe.load_extensions(extension)
    loaded = griffe.load("snn_action", search_paths=[ROOT / "src"], extensions=extensions, docstring_parser="google")
    found = loaded[f"{module}.{name}"]
    assert argument in found.parameters
    sections = [section for section in found.docstring.parse() if section.kind.value == "parameters"]
    assert argument in {parameter.name for section in sections for parameter in section.value}
