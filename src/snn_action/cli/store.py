"""The commands ``snn-action store ...``: look at a feature store, check it, make it smaller, join several."""

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_action.cli.options import JsonFile, Overrides, RunConfigFile, is_terminal, load
from snn_action.core.errors import ConfigError, WorkError, printable

if TYPE_CHECKING:
    from snn_action.config import Config
    from snn_action.features.store.shard import Shard

app = typer.Typer(
    name="store",
    help="Look at a feature store, check it, make it smaller, join several.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Folder = Annotated[
    Path | None, typer.Argument(metavar="[STORE]", help="The store; default: features.store of the configuration.")
]


@app.command()
def info(folder: Folder = None, config: RunConfigFile = None, override: Overrides = None) -> None:
    """Say what is in a store."""
    from snn_action.features.extraction.summary import show_bytes
    from snn_action.features.store.removal import REMOVED, measure_removed
    from snn_action.features.store.survey import survey_store

    survey = survey_store(_find(folder, config, override))
    doubled = survey.find_doubled()
    names = {entry.name for shard in survey.shards for entry in shard.entries}
    typer.echo(f"{survey.folder}: {len(names)} videos, {_describe(survey.shards)}")
    kinds: dict[tuple[str, str, str], list[Shard]] = defaultdict(list)
    for shard in survey.shards:
        kinds[shard.stream, *shard.backbone].append(shard)
    for (stream, backbone, digest), shards in sorted(kinds.items()):
        typer.echo(printable(f"  {stream} by {backbone} ({digest[:12]}): {_describe(shards)}"))
    for kind, files in (("broken", survey.broken), ("left alone", survey.left), ("foreign", survey.foreign)):
        for name, reason in files.items():
            typer.echo(printable(f"  {kind}: {name}: {reason}"))
    for name in survey.unfinished:
        typer.echo(printable(f"  unfinished: {name}"))
    if (removed := measure_removed(survey.folder))[0]:
        typer.echo(f"  {REMOVED}: {removed[0]} files that were taken out, {show_bytes(removed[1])}: delete the folder")
    if doubled:
        typer.echo(f"  {len(doubled)} keys stand more than once: remove the copies with: store prune --apply")


@app.command()
def verify(
    folder: Folder = None,
    config: RunConfigFile = None,
    override: Overrides = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Move broken shards into the folder 'removed' of the store.")
    ] = False,
    json_file: JsonFile = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Shards that are read at once.")] = None,
) -> None:
    """Read every shard whole and hold it to its checksum; the exit code is 1 where one is broken."""
    from dataclasses import asdict

    from snn_action.core.files import write_atomic
    from snn_action.core.progress import track
    from snn_action.features.store.removal import REMOVED, take_out
    from snn_action.features.store.survey import check_shards, survey_store

    survey = survey_store(_find(folder, config, override))
    with track("Verifying", sum(len(shard.entries) for shard in survey.shards), is_terminal()) as tick:
        checks = list(check_shards(survey, workers, tick))
    counts = {kind: [c for c in checks if c.state == kind] for kind in ("whole", "unverifiable", "broken", "left")}
    broken, left = counts["broken"], counts["left"]
    for check in (*broken, *left):
        videos = ", ".join(check.videos) or "videos that cannot be made out any more"
        typer.echo(printable(f"error: {survey.path(check.shard)}: {check.problem}; it holds {videos}"), err=True)
    moved = take_out(survey.folder, [check.shard for check in broken]) if remove else []
    if json_file is not None:
        report = {"store": str(survey.folder), **{kind: len(found) for kind, found in counts.items()}}
        report |= {"removed": moved, "shards": [asdict(check) for check in checks]}
        write_atomic(json_file, json.dumps(report, indent=2) + "\n")
    typer.echo(
        f"{len(checks)} shards: {len(counts['whole'])} whole, {len(broken)} broken"
        + (f", {len(left)} that cannot be judged and are left alone" if left else "")
        + (f", {len(counts['unverifiable'])} written without a checksum" if counts["unverifiable"] else "")
    )
    if broken:
        way = f"{len(moved)} are now in {survey.folder / REMOVED}" if remove else "move them away with --remove"
        raise WorkError(f"{len(broken)} shards are broken: {way}; the next extract or run makes their features anew")
    if left:
        raise WorkError(f"{len(left)} shards cannot be judged, as is said of each; --remove would leave them, too")


@app.command()
def prune(
    folder: Folder = None,
    config: RunConfigFile = None,
    override: Overrides = None,
    keep_config: Annotated[
        list[Path] | None,
        typer.Option("--keep-config", metavar="FILE", help="Keep only what these configurations need; repeatable."),
    ] = None,
    compact: Annotated[
        int, typer.Option(min=0, metavar="VIDEOS", help="Also join shards of fewer videos, up to so many.")
    ] = 0,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; otherwise it is only said.")] = False,
) -> None:
    """Remove doubled keys, broken shards and unfinished files; with --keep-config also what no file of these needs.

    Broken shards are moved into the folder 'removed' of the store; what is not of this program is left where it is.
    Features are kept for all later runs: without --keep-config nothing goes that a run could use.
    """
    from snn_action.features.extraction.summary import show_bytes
    from snn_action.features.store.removal import REMOVED
    from snn_action.features.store.rewriting import plan_pruning
    from snn_action.features.store.rewriting import prune as do_it
    from snn_action.features.store.survey import survey_store

    survey = survey_store(_find(folder, config, override))
    needed = None
    if keep_config:
        needed = {key for path in keep_config for key in _find_needed(load(path, override), survey.folder)}
    plan = plan_pruning(survey, needed, compact)
    if apply:
        do_it(survey, plan, compact)
    for name, reason in plan.files.items():
        typer.echo(printable(f"{'removed' if apply else 'would remove'}: {name}: {reason}"))
    for name, reason in plan.broken.items():
        typer.echo(printable(f"{'moved' if apply else 'would move'} into {REMOVED}: {name}: {reason}"))
    for name, reason in (survey.left | survey.foreign).items():
        typer.echo(printable(f"left alone: {name}: {reason}"))
    for shard, kept in plan.rewritten.items():
        did = "rewritten" if apply else "would rewrite"
        typer.echo(printable(f"{did}: {shard.name}: {len(kept)} of {len(shard.entries)} stay"))
    typer.echo(
        f"{'removed' if apply else 'would remove'} {plan.dropped} videos of a stream, {show_bytes(plan.freed)}"
        + ("" if apply else "; do it with --apply")
    )


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Stores to take features from.")],
    into: Annotated[
        Path | None, typer.Option("--into", metavar="STORE", help="Default: features.store of the configuration.")
    ] = None,
    config: RunConfigFile = None,
    override: Overrides = None,
) -> None:
    """Take into one store what others have and it has not; the others stay as they are."""
    from snn_action.features.store.rewriting import merge as do_it

    target = _find(into, config, override)
    done = do_it(target, sources)
    for path, reason in done.broken.items():
        typer.echo(printable(f"error: {path}: {reason}"), err=True)
    typer.echo(
        f"{target}: {done.shards} shards taken in whole, {done.entries} videos of a stream out of others; "
        f"{done.present} were there"
    )
    if done.broken:
        raise WorkError(f"{len(done.broken)} shards are broken, or cannot be judged, and were left where they are")


def _find(folder: Path | None, config: Path | None, override: list[str] | None) -> Path:
    if folder is not None and (config is not None or override):
        raise ConfigError("store: give the folder of a store, or -c and -o to find it by a configuration, not both")
    return folder if folder is not None else Path(load(config, override).features.store)


def _find_needed(config: "Config", folder: Path) -> set[str]:
    """The keys that a configuration needs.

    Raises:
        ConfigError: it has no videos.
        WorkError: one of them cannot be read: its features would be removed.
    """
    from snn_action.features import load_backbone, prepare
    from snn_action.features.extraction.needs import digest_catalog, find_keys
    from snn_action.features.extraction.versions import plan_versions

    catalog = config.dataset.build(config.seed)
    if catalog.arrays is not None:
        raise ConfigError(f"--keep-config: {config.name} brings its features along, it needs no store")
    digests = digest_catalog(catalog, folder, progress=is_terminal())
    backbone = load_backbone(config)
    prepare(backbone, config, "cpu")
    keys, bad = find_keys(catalog, config, backbone, digests)
    needed = {key for streams in keys.values() for key in streams.values()}
    own, versions = plan_versions(catalog, config)
    for draws in versions:
        keys, _ = find_keys(catalog, own, backbone, digests, draws)
        needed |= {key for streams in keys.values() for key in streams.values()}
    if bad:
        raise WorkError(
            f"--keep-config: {next(iter(bad.values()))}: of {len(bad)} videos it cannot be said which features are "
            "theirs; fix or remove them first"
        )
    return needed


def _describe(shards: "Any") -> str:
    from snn_action.features.extraction.summary import show_bytes

    entries = [entry for shard in shards for entry in shard.entries]
    clips, rows = sum(len(entry.lengths) for entry in entries), sum(entry.rows for entry in entries)
    size = show_bytes(sum(shard.size for shard in shards))
    return f"{clips} clips, {rows} rows, {size} in {len(shards)} shards"
