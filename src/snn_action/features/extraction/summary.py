"""An extraction in a few lines for the terminal."""

from collections.abc import Sequence

from snn_action.core import distributed
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction.extract import Extraction

_UNITS = ("bytes", "KiB", "MiB", "GiB")


def describe_extraction(catalog: Catalog, done: Extraction) -> str:
    """Videos extracted, reused and left out with names; images, seconds, videos a second; the store and its size."""
    world = distributed.world_size()
    who = f"process {distributed.rank() + 1} of {world}: " if world > 1 else ""
    speed = f", {done.n_extracted / done.seconds:.1f} videos/s" if done.n_extracted else ""
    lines = [
        f"{who}{len(catalog.videos)} videos: {done.n_extracted} extracted, {done.n_reused} in the store, "
        f"{len(done.bad)} left out",
        f"{done.frames} images in {done.seconds:.1f} s{speed}",
        *(f"left out: {catalog.videos[index].name}: {reason}" for index, reason in sorted(done.bad.items())),
        f"store: {done.store}, {show_bytes(done.bytes)}",
    ]
    return "\n".join(lines)


def describe_versions(versions: Sequence[Extraction]) -> str:
    """The same of further extractions of the training videos, all together, and of the store after them."""
    extracted, reused, images = (
        sum(getattr(one, key) for one in versions) for key in ("n_extracted", "n_reused", "frames")
    )
    last = versions[-1]
    return "\n".join(
        [
            f"versions of training videos: {extracted} extracted, {reused} in the store",
            f"{images} images in {sum(one.seconds for one in versions):.1f} s",
            f"store with them: {last.store}, {show_bytes(last.bytes)}",
        ]
    )


def show_bytes(size: float) -> str:
    """A size in the unit that suits it."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
