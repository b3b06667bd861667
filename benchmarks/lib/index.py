"""Writes ``benchmarks/README.md`` from the first lines of the scripts: what each asks, and how it is called.

python benchmarks/lib/index.py
"""

import ast
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
GROUPS = {
    "accuracy": "What models reach, and what makes the difference",
    "speed": "Time and memory, against the machine's limits and other libraries",
    "robustness": "Kills, damage and odd input",
}
HEAD = """# Benchmarks

Every number in the documentation comes from one of these scripts. Each writes its own section of `docs/results.md`,
with the commit and the number of CPU cores. In capitals is what you give: a features file, a folder of videos, weights,
or the folder of environments for other libraries (`peers/README.md`). `lib/` holds what the scripts share.

This page is written by `python benchmarks/lib/index.py`.
"""


def make_page() -> str:
    """The page."""
    parts = [HEAD]
    for group, title in GROUPS.items():
        parts += [f"## {title}", ""]
        for path in sorted((BENCHMARKS / group).glob("*.py")):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            question, *rest = text.split("\n")
            usage = next(line.strip() for line in rest if "python benchmarks/" in line)
            parts += [f"**{path.stem}**: {question}", "", f"    {usage}", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    (BENCHMARKS / "README.md").write_text(make_page(), encoding="utf-8")
