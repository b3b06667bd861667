"""What is said of an account beside its estimates: ranges, a frame's share, bytes by level, and what is too large."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.account import BITS, Account, Row
from snn_action.evaluation.energy.chips import check_fit, list_chips, load_chip
from snn_action.evaluation.energy.estimate import LayerEnergy, estimate
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.evaluation.energy.shape import find_shape
from snn_action.evaluation.energy.targets import Target, load_target
from snn_action.evaluation.energy.traffic import LEVELS, Bytes, Level, size_of_weights

PARTS = ("head", "twin", "baseline", "backbone", "chain", "twin_chain")
ARITHMETIC_BITS = {4: 8, 8: 8, 16: 16, 32: 32}  # weights of 4 bits are multiplied by numbers of 8
_MIB = 2**20
_COUNTS = ("dense_macs", "effective_macs", "effective_acs", "neuron_updates", "state_updates", "spikes")


def describe_account(account: Account, model: Mapping[str, Any]) -> dict[str, Any]:
    """For ``metrics.json``: ``Account.to_dict``, what is said beside each estimate, and whether chips hold the head.

    ``model`` is the configuration of the temporal model.
    """
    found = account.to_dict()
    targets = [(row, load_target(row["target"])) for row in found["estimates"]]
    found["estimates"] = [{**row, **_describe_row(account, row, target, BITS)} for row, target in targets]
    shape = find_shape(model, account)
    fits = [check_fit(account.head(), load_chip(name), BITS, **asdict(shape)) for name in list_chips()]
    return {**found, "chips": [fit.to_dict() for fit in fits]}


def describe_row(account: Account, row: Row, target: Target, bits: int) -> dict[str, Any]:
    """``Row.to_dict`` with what is said beside it, as in ``metrics.json``."""
    return {**row.to_dict(), **_describe_row(account, row.to_dict(), target, bits)}


def find_shortage(account: Account, target: Target, bits: int) -> str | None:
    """What is larger than the memory that a target's figures hold for; None: all fits, or it is not known."""
    room = target.on_chip_bytes
    if room is None or target.off_chip_byte is not None:
        return None
    head, backbone = size_of_weights(account.head(bits), bits), size_of_weights(account.backbone or (), bits)
    sizes = {"model": head, "backbone": backbone, "backbone and model together": head + backbone}
    large = [name for name, size in sizes.items() if size > room]
    large = large[:-1] if len(large) > 1 else large  # together only where each alone fits
    needs = " and ".join(f"{name} {_say_size(sizes[name], room)}" for name in large)
    return f"larger than the memory that its figures hold for: weights of the {needs}" if large else None


def narrow(account: Account, bits: int) -> Account:
    """The same account with all weights of ``bits``, to be priced with numbers of ``ARITHMETIC_BITS``."""
    if ARITHMETIC_BITS[bits] == bits:
        return account
    backbone = None if account.backbone is None else _mark(account.backbone, bits)
    heads = {**account.heads, ARITHMETIC_BITS[bits]: _mark(account.head(bits), bits)}
    return replace(account, heads=heads, backbone=backbone, baseline=_mark(account.baseline, bits))


def sum_levels(layers: Sequence[LayerEnergy]) -> dict[Level, Bytes]:
    """Bytes of all layers at each level."""
    return {level: sum((layer.levels[level] for layer in layers), Bytes()) for level in LEVELS}


def price_layers(layers: Sequence[Layer], target: Target, bits: int) -> tuple[LayerEnergy, ...]:
    """The estimate of each layer; none where the target has no figures for it."""
    try:
        return estimate(layers, target, bits).layers
    except ConfigError:
        return ()


def describe_layers(layers: Sequence[Layer], priced: Mapping[str, Sequence[LayerEnergy]]) -> list[dict[str, Any]]:
    """Counts and sparsity of each layer, and by target how it is run and its bytes by level and kind."""
    shares = ("activation_sparsity", "connection_sparsity")
    found = [{**layer.to_dict(), **{one: getattr(layer, one) for one in shares}, "bytes": {}} for layer in layers]
    for target, ones in priced.items():
        for raw, one in zip(found, ones, strict=False):
            raw["bytes"][target] = {"way": one.way, **describe_levels(one.levels)}
    return found


def sum_counts(account: Account, bits: int) -> dict[str, dict[str, dict[str, float]]]:
    """Counts of head, backbone and the whole chain, for a clip and for a time step of it."""
    head, backbone = account.head(bits), account.backbone
    parts = {"head": head} if backbone is None else {"head": head, "backbone": backbone, "chain": (*head, *backbone)}
    found = {}
    for part, layers in parts.items():
        clip = {field: total(layers, field) for field in _COUNTS}
        found[part] = {"clip": clip, "frame": {field: count / account.steps for field, count in clip.items()}}
    return found


def describe_levels(levels: Mapping[Level, Bytes]) -> dict[str, dict[str, float]]:
    """Bytes by level and kind, as numbers."""
    return {level: asdict(there) for level, there in levels.items()}


def _describe_row(account: Account, row: Mapping[str, Any], target: Target, bits: int) -> dict[str, Any]:
    found = {part: row[part] for part in PARTS if row[part] is not None}
    counted = {"head": account.head(bits), "backbone": account.backbone}
    moved = {part: sum_levels(estimate(counted[part] or (), target, bits).layers) for part in counted if part in found}
    return {
        "ranges": {part: {"low": one / target.factor, "high": one * target.factor} for part, one in found.items()},
        "per_frame": {part: one / account.steps for part, one in found.items()},
        "bytes": {part: describe_levels(levels) for part, levels in moved.items()},
        "too_large": find_shortage(account, target, bits),
    }


def _mark(layers: Sequence[Layer], bits: int) -> tuple[Layer, ...]:
    """Layers whose weights have ``bits``, or fewer where they were trained to."""
    return tuple(replace(layer, weight_bits=layer.find_weight_bits(bits)) for layer in layers)


def _say_size(size: float, room: int) -> str:
    return f"{size / _MIB:,.4g} MiB, memory {room / _MIB:,.4g} MiB"
