"""An extraction in a few lines for the terminal."""

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


def show_bytes(size: float) -> str:
    """A size in the unit that suits it."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
