"""``snn-action energy``."""

import json
from pathlib import Path
from typing import Annotated

import typer


def energy(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a tested recognizer.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME", help="A target, or a .json file of your own; repeat. Default: all."),
    ] = None,
    bits: Annotated[int, typer.Option("--bits", help="Of weights and activations: 4, 8, 16 or 32.")] = 8,
    layers: Annotated[bool, typer.Option("--layers", help="Also show the counts of every layer.")] = False,
    chip: Annotated[
        list[str] | None,
        typer.Option("--chip", metavar="NAME", help="Does it fit on this chip, or .json file of yours? 'all': each."),
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also show where the figures of targets are from.")
    ] = False,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all to a file.")] = None,
) -> None:
    """Estimate what a clip costs on named devices, whole chain, and whether the model fits on a chip."""
    from snn_action.core.errors import ConfigError
    from snn_action.core.files import write_atomic
    from snn_action.evaluation.energy.account import compare
    from snn_action.evaluation.energy.chips import check_fit, list_chips, load_chip
    from snn_action.evaluation.energy.targets import list_targets, load_target
    from snn_action.evaluation.energy.traffic import STATE_BITS
    from snn_action.runs.energy import choose, format_fit, format_layers, format_rows, read_account

    if bits not in STATE_BITS:
        raise ConfigError(f"--bits {bits}: must be one of {', '.join(map(str, STATE_BITS))}")
    account = read_account(run)
    targets = [load_target(name) for name in choose(target, list_targets())]
    chips = [load_chip(name) for name in (list_chips() if chip == ["all"] else choose(chip, []))]
    every = [*account.head(bits), *(account.backbone or ())]
    rows = [compare(account, one, bits) for one in targets]
    fits = [check_fit(every, one, bits) for one in chips]
    parts = [format_layers(every)] if layers else []
    parts += [format_rows(rows, bits, account.steps, account.weight_bits), *map(format_fit, fits)]
    if sources:
        parts += [
            "\n".join([f"{one.name}: {one.title}", one.derivation, *(f"- {source}" for source in one.sources)])
            for one in targets
        ]
    typer.echo("\n\n".join(parts))
    if as_json is not None:
        found = {
            "steps": account.steps,
            "bits": bits,
            "weight_bits": account.weight_bits,
            "layers": [layer.to_dict() for layer in every],
            "estimates": [row.to_dict() for row in rows],
            "chips": [fit.to_dict() for fit in fits],
        }
        write_atomic(as_json, json.dumps(found, indent=2) + "\n")
