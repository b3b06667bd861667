"""What a test that is not clean does to a run.

==========  ==========================================================================================================
``refuse``  nothing is run; but groups and look-alikes of official lists, which nobody may change, are marked
``mark``    the run goes on, and every figure is marked
``drop``    training and validation videos that share a group with a test video, or look like one, are left out
==========  ==========================================================================================================

A backbone or weights of a start that learned from test videos, and features of which that is known, are refused by
``drop``, too: there is nothing to leave out.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold
from snn_action.datasets.trained_on import TrainedOn
from snn_action.evaluation.leakage import (
    EXAMPLES,
    Leakage,
    examine_split,
    examine_videos,
    examine_weights,
    find_group_mates,
)

logger = logging.getLogger(__name__)

OF_LISTS = ("group", "duplicate")  # kinds of leak that the lists make, not the backbone


def guard_test(
    catalog: Catalog,
    config: Config,
    provenance: Mapping[str, Any] | None,
    progress: bool = False,
    *,
    decided: bool = False,
    digests: Sequence[str | OSError] = (),
    start: TrainedOn | None = None,
) -> tuple[tuple[Fold, ...], Leakage]:
    """The folds to run, and what is known of leakage; warns of what is marked.

    Args:
        catalog: Videos and folds.
        config: Its ``evaluation.leakage`` says what happens.
        provenance: Of the backbone's weights; None where features came with the dataset.
        progress: Show a bar.
        decided: The run has begun: nothing is left out any more.
        digests: Of each video's content; needed with ``start``.
        start: What the weights that training begins from had learned from; None: it begins from drawn ones.

    Raises:
        ConfigError: there is leakage that is not to be marked; or nothing is left to train on.
    """
    policy = config.evaluation.leakage
    drop = policy == "drop" and not decided
    if drop:
        catalog = drop_videos(catalog, [find_group_mates(catalog, fold) for fold in catalog.folds])
    split = examine_split(catalog, provenance)
    if start is not None:
        split = split.join(examine_weights(catalog, digests, start))
    refuse_leaks(split, policy, catalog.official)  # before any video is looked at
    videos, pairs = examine_videos(catalog, config, progress)
    if drop:
        catalog = drop_videos(catalog, [{pair.learned for pair in own} for own in pairs])
        videos = replace(videos, leaks=())
    refuse_leaks(videos, policy, catalog.official)
    dropped = len({name for fold in catalog.folds for name in fold.dropped})
    leakage = replace(split.join(videos), dropped=dropped)
    for note in leakage.notes():
        logger.warning(note)
    return catalog.folds, leakage


def drop_videos(catalog: Catalog, spoilt: list[set[int]]) -> Catalog:
    """The catalog whose folds do not learn from the ``spoilt`` videos of each.

    Raises:
        ConfigError: a class has no training videos left.
    """
    folds = []
    for fold, bad in zip(catalog.folds, spoilt, strict=True):
        kept = [tuple(index for index in side if index not in bad) for side in (fold.train, fold.validation)]
        names = tuple(catalog.videos[index].name for index in fold.learned if index in bad)
        folds.append(replace(fold, train=kept[0], validation=kept[1], dropped=fold.dropped + names))
    return replace(catalog, folds=tuple(folds))


def refuse_leaks(leakage: Leakage, policy: str, official: bool = False) -> None:
    """Nothing, where the test is clean or its leaks are to be marked.

    Raises:
        ConfigError: names what leaks, with examples, and the way out.
    """
    leaks = [] if policy == "mark" else list(leakage.leaks)
    if official:
        leaks = [leak for leak in leaks if leak.kind not in OF_LISTS]
    if not leaks:
        return
    lines = "\n".join(f"  {leak.kind}: split {leak.fold}: {leak.text}" for leak in leaks[:EXAMPLES])
    more = len(leaks) - EXAMPLES
    ways = ["Fix the split"]
    if policy != "drop" and any(leak.kind in OF_LISTS for leak in leaks):
        ways.append("set evaluation.leakage to 'drop' to leave out the training videos that share something")
    ways.append("set it to 'mark' to run it all the same: every figure of the report is then marked")
    if len(ways) == 2:
        ways[1] = ways[1].replace("set it", "set evaluation.leakage")
    raise ConfigError(
        f"the test is not clean, so nothing is run:\n{lines}\n{f'  and {more} more' + chr(10) if more > 0 else ''}"
        + "; or ".join(ways)
    )
