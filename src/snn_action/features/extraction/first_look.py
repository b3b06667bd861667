"""What cannot be used at all is found in the first seconds: empty files, files that are no video, sound only.

Each video that the store does not know is opened, but neither read to its end nor decoded. So a dataset of which too
much is broken is refused before hours of extraction, not after them.
"""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from snn_action.config import Config
from snn_action.core.errors import VideoError, WorkError, printable
from snn_action.core.progress import track
from snn_action.datasets.catalog import Catalog
from snn_action.video.decode import look_at, open_video
from snn_action.video.settings import LimitSettings
from snn_action.video.workers import Failure, map_apart

FEW = 500  # videos that are read to their ends, to name all that is wrong, where too many do not open


def look_first(catalog: Catalog, indices: Iterable[int], config: Config, progress: bool) -> dict[int, str]:
    """Why videos cannot be used, by index, of those that do not even open. Without workers they are opened here.

    Where they are too many for ``dataset.max_bad_share``, the others of a small dataset are read to their ends, so that
    all that is wrong is named at once.
    """
    bad = _look_at(catalog, indices, config, progress)
    total = len(catalog.videos)
    if len(bad) > config.dataset.max_bad_share * total and total <= FEW:
        others = [index for index in range(total) if index not in bad]
        bad |= _look_at(catalog, others, config, progress, whole=True)
    return bad


def _look_at(
    catalog: Catalog, indices: Iterable[int], config: Config, progress: bool, whole: bool = False
) -> dict[int, str]:
    limits, workers = config.features.limits, config.features.workers
    paths = {index: path for index in indices if (path := catalog.videos[index].path) is not None}
    look = partial(_look, limits=limits, whole=whole)
    asked = list(paths.values())
    many = max(workers, os.cpu_count() or 1)  # opening is mostly waiting
    found = map_apart(look, asked, many, limits.timeout) if workers and asked else map(look, asked)
    bad = {}
    with track("Opening videos", len(paths), progress) as tick:
        for (index, path), reason in zip(paths.items(), found, strict=True):
            if reason is not None:
                bad[index] = f"{path}: {reason.reason}" if isinstance(reason, Failure) else reason
            tick()
    return bad


def _look(path: Path, limits: LimitSettings, whole: bool) -> str | None:
    try:
        (open_video if whole else look_at)(path, limits)
    except VideoError as error:
        return str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def check_share(catalog: Catalog, bad: Mapping[int, str], max_share: float, kept: str) -> str:
    """What to say of the videos that cannot be read; nothing where there are none.

    Raises:
        WorkError: they are more than ``max_share`` of all, or all; ``kept`` says what there is to go on from.
    """
    if not bad:
        return ""
    lines = "\n".join(f"  {catalog.videos[index].name}: {printable(reason)}" for index, reason in sorted(bad.items()))
    total = len(catalog.videos)
    summary = f"{len(bad)} of {total} videos cannot be read"
    if len(bad) > max_share * total or len(bad) == total:
        raise WorkError(
            f"{summary}, dataset.max_bad_share allows {max_share:.0%}. Fix or remove them, or raise that share"
            f"{kept}:\n{lines}"
        )
    return f"{summary} and are left out:\n{lines}"
