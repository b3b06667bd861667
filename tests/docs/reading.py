"""What tests of the README and of the pages share: blocks of code, commands in them, and what stands for a run."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CLASSES = ("Bow", "JumpingJack", "Walk")  # not two of one motion: their clips are copies of each other
PEOPLE = ("anna", "ben", "carla", "david")
_FENCE = re.compile(r"(?:^<!-- not run: ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, and why it is not run, from a comment on the line above it."""

    language: str
    text: str
    reason: str | None


def read_blocks(page: str) -> list[Block]:
    return [Block(language, text, reason or None) for reason, language, text in _FENCE.findall(page)]


def split_commands(text: str) -> list[list[str]]:
    """The words of each command; a line that ends in a backslash goes on, ``&`` at the end is left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.removesuffix("&"), comments=True))]


def fill_in(words: list[str]) -> list[str]:
    """``save/my_videos/RUN`` stands for a run's folder: here the newest one. Of ``*`` a shell makes all names."""
    filled = []
    for word in words:
        if word.endswith("/RUN"):
            filled.append(str(find_newest(Path(word).parent)))
        elif "/*" in word:
            filled += sorted(map(str, Path().glob(word)))
        else:
            filled.append(word)
    return filled


def find_newest(parent: Path) -> Path:
    return max(parent.iterdir(), key=lambda run: (run.stat().st_mtime_ns, run.name))
