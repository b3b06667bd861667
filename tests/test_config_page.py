"""``configs/README.md`` has a row for each configuration and is what its script makes of it."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return runpy.run_path(str(ROOT / "benchmarks" / "accuracy" / "configs.py"))


def test_every_configuration_has_a_row_and_none_is_of_another(script):
    assert set(script["read_rows"]()) == {path.stem for path in CONFIGS.glob("*.json")} - {"schema"}


def test_the_page_is_what_the_script_makes_of_its_rows(script):
    page = (CONFIGS / "README.md").read_text(encoding="utf-8")
    assert page == script["make_page"](script["read_rows"]()), "run: python benchmarks/accuracy/configs.py"


def test_a_row_has_all_figures_or_says_that_it_has_none(script):
    for name, row in script["read_rows"]().items():
        assert len(row) == len(script["NO_FIGURES"]), name
        assert row == script["NO_FIGURES"] or all(any(c.isdigit() for c in cell) for cell in row), name


def test_what_was_measured_replaces_one_row(script):
    kept = script["read_rows"]()
    name = sorted(kept)[0]
    row = ["measured", *kept[name][1:]]
    page = script["make_page"](kept | {name: row})
    old = script["make_page"](kept)
    changed = [(a, b) for a, b in zip(old.splitlines(), page.splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert "measured" in changed[0][1]
