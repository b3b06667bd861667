"""What a finished run costs: read from its ``metrics.json``, and shown as text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.reading import read_text, reading
from snn_action.core.run_access import require_run
from snn_action.evaluation.energy.account import Account, Row
from snn_action.evaluation.energy.chips import FitReport
from snn_action.evaluation.energy.layers import Layer

DASH = "-"
PARTS = ("head", "twin", "baseline", "backbone", "chain")
WORDS = ("target", "model", "without spikes", "baseline", "backbone", "together", "crossover", "factor")


def read_account(run: str | Path) -> Account:
    """The layers that a run has counted.

    Raises:
        ConfigError: the folder is no run folder.
        WorkError: the run is not finished, its ``metrics.json`` cannot be read, or it is older than the counts.
    """
    folder = Path(run)
    require_run(folder)
    path = folder / "metrics.json"
    if not path.is_file():
        raise WorkError(f"{folder}: this run is not finished; finish it with: snn-action run --resume {folder}")
    with reading(path, "broken", WorkError):
        raw: Any = json.loads(read_text(path))
        if "energy" in raw:
            return Account.from_dict(raw["energy"])
    raise WorkError(f"{path}: has no layers, an older version wrote it; count them with: snn-action evaluate {folder}")


def format_rows(rows: Sequence[Row], bits: int, steps: int, weight_bits: int | None = None) -> str:
    """Estimates of several targets as a table, in microjoules a clip; ``weight_bits`` are those of an ``Account``."""
    table = [list(WORDS)]
    for row in rows:
        if row.head is None:
            table.append([row.target, row.problem or ""])
            continue
        rate = DASH if row.rate is None else "never" if row.crossover is None else f"{row.crossover:.3g}"
        found = [format_number(getattr(row, part)) for part in PARTS]
        table.append([row.target, *found, "always" if rate == "1" else rate, f"{row.factor:g}"])
    fewer = weight_bits is not None and weight_bits < bits
    trained = f", matrices of the {weight_bits} bits that the model was trained with" if fewer else ""
    notes = [
        f"Estimates, not measurements, in microjoules for one clip of {steps} time steps; weights and activations of "
        f"{bits} bits{trained}.",
        "The true value is thought to lie between an estimate divided by the factor and multiplied by it.",
    ]
    rate_now = next((row.rate for row in rows if row.rate is not None), None)
    if rate_now is not None:
        notes.append(
            "Without spikes: numbers in the place of spikes, none of them zero. Crossover: the spikes a neuron and step"
            f" below which spikes need less than that; this model has {rate_now:.3g}."
        )
    notes += [row.problem for row in rows if row.head is not None and row.problem]
    return "\n".join([*align(table), "", *notes])


def format_layers(layers: Sequence[Layer]) -> str:
    """Counts of each layer as a table."""
    header = "layer", "part", "weights", "zero %", "inputs zero %", "MACs", "effective", "ACs", "updates", "spikes"
    table = [list(header)]
    for layer in layers:
        shares = (layer.connection_sparsity, layer.activation_sparsity)
        counts = (layer.dense_macs, layer.effective_macs, layer.effective_acs)
        updates = layer.neuron_updates + layer.state_updates
        table.append(
            [
                layer.name,
                layer.part,
                format_number(layer.parameters),
                *(DASH if share is None else f"{100 * share:.1f}" for share in shares),
                *map(format_number, (*counts, updates, layer.spikes)),
            ]
        )
    return "\n".join(align(table))


def format_fit(report: FitReport) -> str:
    """What a chip has and what the network needs, one line a limit."""
    words = {True: "fits", False: "does not fit", None: "not known"}
    table = [[report.chip, "needed", "available", words[report.fits]]]
    for check in report.checks:
        table.append(
            [check.limit, format_number(check.needed), format_number(check.available), words[check.fits], check.advice]
        )
    return "\n".join(align(table))


def format_number(number: float | None) -> str:
    """With three figures and k, M, G; a dash for none or zero."""
    if not number:
        return DASH
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def align(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose cells stand below each other: the first one to the left, all others to the right."""
    full = max(len(line) for line in table)
    whole = [line for line in table if len(line) == full or len(line) > 2]
    widths = [max((len(line[place]) for line in whole if place < len(line)), default=0) for place in range(full)]
    lines = []
    for line in table:
        cells = [line[0].ljust(max(widths[0], len(line[0])))]
        if len(line) == 2:  # a target and its problem
            cells.append(line[1])
        else:
            last = full - 1 if full == 5 else full  # a sentence at the end stands to the left
            cells += [
                cell.rjust(width) if place < last else cell
                for place, (cell, width) in enumerate(zip(line[1:], widths[1:], strict=False), 1)
            ]
        lines.append("  ".join(cells).rstrip())
    return lines


def choose(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The given names, each once; all that are known where none is given.

    Raises:
        ConfigError: a name is empty.
    """
    if names and not all(names):
        raise ConfigError("--target, --chip: a name is empty")
    return list(dict.fromkeys(names or known))
