"""``snn-action energy``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from snn_action.cli.options import JsonFile


def energy(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a tested recognizer.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME", help="A target, or a .json file of your own; repeat. Default: all."),
    ] = None,
    bits: Annotated[
        int,
        typer.Option("--bits", help="Of weights and activations: 8, 16 or 32; 4: of weights, and 8 of activations."),
    ] = 8,
    layers: Annotated[bool, typer.Option("--layers", help="Also show the counts and bytes of every layer.")] = False,
    chip: Annotated[
        list[str] | None,
        typer.Option("--chip", metavar="NAME", help="Does it fit on this chip, or .json file of yours? 'all': each."),
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also show where the figures of targets and chips are from.")
    ] = False,
    as_json: JsonFile = None,
) -> None:
    """Estimate what a clip costs on named devices, whole chain, and whether the model fits on a chip."""
    from dataclasses import asdict

    from snn_action.core.errors import ConfigError
    from snn_action.core.files import write_atomic
    from snn_action.evaluation.energy.account import compare
    from snn_action.evaluation.energy.chips import check_fit, list_chips, load_chip
    from snn_action.evaluation.energy.shape import find_shape
    from snn_action.evaluation.energy.summary import (
        ARITHMETIC_BITS,
        describe_layers,
        describe_row,
        find_shortage,
        narrow,
        price_layers,
        sum_counts,
    )
    from snn_action.evaluation.energy.targets import list_targets, load_target
    from snn_action.runs.energy import (
        choose,
        format_bytes,
        format_fit,
        format_layers,
        format_rows,
        format_source,
        read_account,
        read_model,
        require_names,
    )

    if bits not in ARITHMETIC_BITS:
        raise ConfigError(f"--bits {bits}: must be one of {', '.join(map(str, ARITHMETIC_BITS))}")
    read, numbers = read_account(run), ARITHMETIC_BITS[bits]
    account = narrow(read, bits)
    targets = [load_target(name) for name in choose(target, list_targets())]
    wanted = [one for name in chip or () for one in (list_chips() if name == "all" else [name])]
    chips = [load_chip(name) for name in choose(wanted, [])]
    require_names("--target", targets)
    require_names("--chip", chips)
    every = [*account.head(numbers), *(account.backbone or ())]
    rows = [compare(account, one, numbers) for one in targets]
    shape = find_shape(read_model(run), account)
    fits = [check_fit(every, one, numbers, **asdict(shape)) for one in chips]
    large = {one.name: note for one in targets if (note := find_shortage(account, one, numbers))}
    priced = {one.name: price_layers(every, one, numbers) for one in targets}
    parts = [format_rows(rows, bits, account.steps, read.weight_bits, large), *map(format_fit, fits)]
    if layers:
        shown = [one for one in (targets if target else targets[:1]) if priced[one.name]]
        parts = [format_layers(every), *(format_bytes(priced[one.name], one) for one in shown), *parts]
    if sources:
        parts += [*map(format_source, targets), *map(format_source, chips)]
    typer.echo("\n\n".join(parts))
    if as_json is not None:
        found = {
            "steps": account.steps,
            "bits": bits,
            "activation_bits": numbers,
            "weight_bits": read.weight_bits,
            "layers": describe_layers(every, priced),
            "counts": sum_counts(account, numbers),
            "estimates": [describe_row(account, row, one, numbers) for row, one in zip(rows, targets, strict=True)],
            "chips": [fit.to_dict() for fit in fits],
        }
        write_atomic(as_json, json.dumps(found, indent=2) + "\n")
