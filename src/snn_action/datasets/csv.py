"""Videos named in a table: a CSV file with the columns ``path``, ``label``, ``split`` and, if known, ``group``.

Paths are relative to the file. ``split`` is ``train`` or ``test``, or the name or number of the fold that tests the
video. Where a group is left out, it is unknown for all videos, and nothing can be held back for validation.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from snn_action.core.errors import ConfigError, printable
from snn_action.core.reading import read_text, reading
from snn_action.datasets.catalog import Catalog, PathSettings, Video
from snn_action.datasets.lists import check_found, check_labels, choose_folds, fold_by_name
from snn_action.datasets.names import find_path, plain_name

_NEEDED = ("path", "label", "split")


class CSVSettings(PathSettings):
    """A table of videos."""

    type: Literal["csv"] = Field("csv", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.csv:build"
    split: int | str = Field("all", description="The fold to run, or 'all'")


def build(settings: CSVSettings, seed: int) -> Catalog:  # noqa: ARG001 - the table says what tests
    """Read the table.

    Raises:
        ConfigError: names the file and the line that does not fit, or the videos that are not there.
    """
    names, videos, rows = read_table(settings.path, _NEEDED)
    folds = choose_folds(fold_by_name([row["split"] for row in rows], str(settings.path)), settings.split)
    return Catalog(names, videos, folds)


def read_table(source: Path, needed: Sequence[str]) -> tuple[tuple[str, ...], tuple[Video, ...], list[dict[str, str]]]:
    """Names of classes, videos and rows of a table that has the ``needed`` columns.

    Raises:
        ConfigError: names the file and the line that does not fit, or the videos that are not there.
    """
    rows = _read_rows(source, needed)
    names = tuple(sorted({plain_name(row["label"]) for _, row in rows}))
    label_of = {name: label for label, name in enumerate(names)}
    videos, first_line = [], dict[str, tuple[int, int]]()
    for line, row in rows:
        path = find_path(source.parent, row["path"].replace("\\", "/"))
        label, place = label_of[plain_name(row["label"])], os.path.normpath(path)
        if place in first_line:
            other, known = first_line[place]
            labels = f", as {names[known]!r} and not {names[label]!r}" if label != known else ""
            raise ConfigError(f"{source}, line {line}: {printable(row['path'])} stands in line {other}, too{labels}")
        first_line[place] = line, label
        videos.append(Video(plain_name(row["path"]), label, plain_name(row.get("group") or "") or None, path))
    lines = [line for line, _ in rows]
    missing = [
        f"{video.name} (line {line})"
        for line, video in zip(lines, videos, strict=True)
        if video.path and not os.path.lexists(video.path)
    ]
    check_labels(videos, names, source)
    check_found(missing, len(videos), source, source.parent, "paths are relative to the table")
    return names, tuple(videos), [row for _, row in rows]


def _read_rows(source: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    with reading(source, "not a table of comma-separated text", way_out="; set dataset.path"):
        reader = csv.DictReader(io.StringIO(read_text(source), newline=""), strict=True, skipinitialspace=True)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        if twice := [name for name, count in Counter(header).items() if count > 1 and name]:
            raise ConfigError(f"{source}, line 1: column {', '.join(twice)} is there twice; remove one")
        if absent := [name for name in needed if name not in header]:
            raise ConfigError(f"{source}, line 1: no column {', '.join(absent)}; the first line names the columns")
        rows = [(reader.line_num, row) for row in reader]
    if not rows:
        raise ConfigError(f"{source}: the table names no video")
    return [(line, _check_row(source, line, row, needed)) for line, row in rows]


def _check_row(
    source: Path, line: int, row: dict[str | None, str | list[str] | None], needed: Sequence[str]
) -> dict[str, str]:
    if None in row or None in row.values():
        raise ConfigError(f"{source}, line {line}: more or fewer fields than columns; quote a field that holds a comma")
    clean = {str(name): str(value).strip() for name, value in row.items()}
    if empty := [name for name in needed if not clean[name]]:
        raise ConfigError(f"{source}, line {line}: {', '.join(empty)} is empty")
    return clean
