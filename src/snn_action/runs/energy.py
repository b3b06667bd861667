"""What a finished run costs: read from its ``metrics.json``, and shown as text."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn_action.core.errors import ConfigError, WorkError, printable
from snn_action.core.reading import read_text, reading
from snn_action.core.run_access import require_run
from snn_action.evaluation.energy.account import Account, Row
from snn_action.evaluation.energy.chips import Chip, FitReport
from snn_action.evaluation.energy.count import AS_THEY_ARE
from snn_action.evaluation.energy.estimate import LayerEnergy
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.summary import ARITHMETIC_BITS, PARTS, sum_levels
from snn_action.evaluation.energy.targets import Target
from snn_action.evaluation.energy.traffic import LEVELS, Bytes

DASH = "-"
WORDS = (
    "target",
    "model",
    "its range",
    "a step",
    *("without spikes", "baseline", "backbone", "together", "its range", "together without spikes", "crossover"),
    "factor",
)


def read_account(run: str | Path) -> Account:
    """The layers that a run has counted.

    Raises:
        ConfigError: the folder is no run folder.
        WorkError: the run is not finished, its ``metrics.json`` cannot be read, or it is older than the counts.
    """
    folder = Path(run)
    if folder.is_file():
        raise ConfigError(f"{folder}: a file, and counts are in a run's folder; name the folder of the run")
    require_run(folder)
    path = folder / "metrics.json"
    if not path.is_file():
        raise WorkError(f"{folder}: this run is not finished; finish it with: snn-action run --resume {folder}")
    with reading(path, "broken", WorkError):
        raw: Any = json.loads(read_text(path))
        if "energy" in raw:
            return Account.from_dict(raw["energy"])
    raise WorkError(f"{path}: has no layers, an older version wrote it; count them with: snn-action evaluate {folder}")


def read_model(run: str | Path) -> Mapping[str, Any]:
    """The configuration of the temporal model of a run; empty where it cannot be told."""
    path = Path(run) / "config.json"
    with reading(path, "broken", WorkError):
        raw: Any = json.loads(read_text(path))
    model = raw.get("model") if isinstance(raw, dict) else None
    return model if isinstance(model, dict) else {}


def format_rows(
    rows: Sequence[Row],
    bits: int,
    steps: int,
    weight_bits: int | None = None,
    too_large: Mapping[str, str] | None = None,
) -> str:
    """Estimates of several targets as a table, in microjoules a clip.

    ``weight_bits`` are those of an ``Account``, and ``too_large`` says by target what is larger than its memory.
    """
    table = [list(WORDS)]
    for row in rows:
        if row.head is None:
            table.append([row.target, row.problem or ""])
            continue
        rate = DASH if row.rate is None else "never" if row.crossover is None else f"{row.crossover:.3g}"
        found = {part: format_number(getattr(row, part)) for part in PARTS}
        model = found["head"], _format_range(row.head, row.factor), format_number(row.head / steps)
        alone = (found[part] for part in ("twin", "baseline", "backbone"))
        together = found["chain"], _format_range(row.chain, row.factor), found["twin_chain"]
        table.append([row.target, *model, *alone, *together, "always" if rate == "1" else rate, f"{row.factor:g}"])
    notes = [
        f"Estimates, not measurements, in microjoules for one clip of {steps} time steps; "
        f"{_say_bits(bits, weight_bits)}. A step: the model's, of one time step.",
        "The true value is thought to lie between an estimate divided by the factor and multiplied by it: its range.",
    ]
    rate_now = next((row.rate for row in rows if row.rate is not None), None)
    if rate_now is not None or any(row.twin_chain is not None for row in rows):
        notes.append("Without spikes: numbers in the place of spikes, none of them zero.")
    if rate_now is not None:
        notes.append(
            "Crossover: the spikes a neuron and step below which spikes need less than the model without spikes; this "
            f"model has {rate_now:.3g}."
        )
    if bits < AS_THEY_ARE and weight_bits is None:
        notes.append(
            "Accuracy and operations of the run are those of the weights as they are, the energy that of matrices "
            f"rounded to {bits} bits."
        )
    notes += [f"{row.target}: {too_large[row.target]}." for row in rows if too_large and row.target in too_large]
    notes += [row.problem for row in rows if row.head is not None and row.problem]
    return "\n".join([*align(table), "", *notes])


def _format_range(energy: float | None, factor: float) -> str:
    return DASH if energy is None else f"{format_number(energy / factor)} to {format_number(energy * factor)}"


def _say_bits(bits: int, weight_bits: int | None) -> str:
    """Of what width the numbers are."""
    numbers = ARITHMETIC_BITS[bits]
    words = f"weights and activations of {bits} bits"
    if numbers != bits:
        words = f"weights of {bits} bits, activations and arithmetic of {numbers} bits"
    fewer = weight_bits is not None and weight_bits < bits
    return f"{words}, matrices of the {weight_bits} bits that the model was trained with" if fewer else words


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


def format_bytes(layers: Sequence[LayerEnergy], target: Target) -> str:
    """Bytes of a clip that each layer, and each part of the network, reads and writes at each level of a target."""
    levels = [f"{level.replace('_', ' ')} {done}" for level in LEVELS for done in ("read", "written")]
    table = [["layer", "part", "run as", *levels]]

    def add(name: str, part: str, way: str, there: Mapping[Any, Bytes]) -> None:
        sizes = [size for level in LEVELS for size in (there[level].read, there[level].written)]
        table.append([name, part, way, *map(format_size, sizes)])

    for one in layers:
        add(one.layer.name, one.layer.part, one.way if one.layer.kind == "synapses" else DASH, one.levels)
    for part in dict.fromkeys(one.layer.part for one in layers):
        add("all", part, DASH, sum_levels([one for one in layers if one.layer.part == part]))
    return "\n".join([f"Bytes of a clip on {target.name}:", *align(table)])


def format_source(record: Target | Chip) -> str:
    """Where the figures of a target or a chip are from."""
    kind, words = ("target", record.derivation) if isinstance(record, Target) else ("chip", record.notes)
    return "\n".join([f"{kind} {record.name}: {record.title}", words, *(f"- {source}" for source in record.sources)])


def format_fit(report: FitReport) -> str:
    """What a chip has and what the network needs, one line a limit."""
    words = {True: "fits", False: "does not fit", None: "not known"}
    table = [[report.chip, "needed", "available", words[report.fits]]]
    for check in report.checks:
        table.append(
            [
                check.limit,
                format_number(check.needed) + ("" if check.most is None else f" to {format_number(check.most)}"),
                format_number(check.available),
                words[check.fits],
                check.advice,
            ]
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


def format_size(size: float) -> str:
    """Bytes with three figures and a unit; a dash for none."""
    if not size:
        return DASH
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"


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


def require_names(option: str, records: Sequence[Target | Chip]) -> None:
    """Nothing, where each record that was given by an ``option`` has a name of its own.

    Raises:
        ConfigError: two have the same.
    """
    for name, number in Counter(record.name for record in records).items():
        if number > 1:
            raise ConfigError(f"{option}: {number} are named {printable(name)!r}; change 'name' in your file")


def choose(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The given names, each once; all that are known where none is given.

    Raises:
        ConfigError: a name is empty.
    """
    if names and not all(names):
        raise ConfigError("--target, --chip: a name is empty")
    return list(dict.fromkeys(names or known))
