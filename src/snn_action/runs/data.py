"""What a run works on: the catalog as it was decided, and the features of its clips."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.progress import LINE, stage
from snn_action.core.settings import suggest
from snn_action.datasets.catalog import Catalog, digest_features, draw_validation
from snn_action.datasets.trained_on import UNKNOWN, TrainedOn
from snn_action.evaluation import Leakage, guard_test
from snn_action.features import (
    FeatureSet,
    check_end_to_end,
    describe_backbone,
    extract_features,
    find_encoder,
    from_arrays,
    load_backbone,
    prepare,
    read_contents,
)
from snn_action.features.extraction.summary import describe_extraction, describe_versions, show_bytes
from snn_action.features.extraction.versions import check_versions, check_windows, extract_versions
from snn_action.models import build_model
from snn_action.models.encoder import Encoder
from snn_action.runs.folder import learned_settings
from snn_action.runs.split import Split, freeze
from snn_action.training import check_memory, check_spike_target, read_trained_on, resolve_device
from snn_action.training.checkpoints import check_fit, read_checkpoint

logger = logging.getLogger(__name__)

BASELINE_VALIDATION = (
    0.2  # share of training groups on which the baseline's strength is chosen, where training has none
)


@dataclass(frozen=True)
class Data:
    """What a run works on: the catalog with the sides of its folds, and the features of its clips.

    ``extraction`` says how many videos were extracted now, and how many were in the store; it is empty where the
    features came with the dataset.
    """

    catalog: Catalog
    split: Split
    features: FeatureSet
    backbone: Backbone | None
    seconds: float
    extraction: dict[str, int]
    summary: str
    leakage: Leakage

    @property
    def encoder(self) -> Encoder | None:
        """What a model that is trained from frames trains of the backbone; None: nothing."""
        return find_encoder(self.backbone)

    @property
    def fold_names(self) -> list[str]:
        """Names of all folds."""
        return [fold.name for fold in self.catalog.folds]


def load_data(
    config: Config, split: Split | None = None, *, progress: bool = False, guard: bool = False, trains: bool = True
) -> Data:
    """The catalog, its split, and the features of its clips: those that came with it, or extracted into the store.

    Args:
        config: Of the run.
        split: What the run decided when it began; None: it is decided here.
        progress: Show bars.
        guard: For training and tests: a split whose test is not clean is refused, before hours of extraction.
        trains: Whether something is to be trained, which needs more memory than a test.

    Raises:
        ConfigError: the configuration cannot be followed, what the split names is no longer as it was, or the test
            leaks and ``evaluation.leakage`` refuses it.
        WorkError: too many videos cannot be read, or the store cannot be written.
    """
    with distributed.rank_zero_first():  # it may make the videos
        logger.info("Looking for videos in %s", getattr(config.dataset, "path", "the dataset"), extra=LINE)
        catalog: Catalog = config.dataset.build(config.seed)
    check_background(config, catalog.class_names)
    check_end_to_end(config, has_videos=catalog.arrays is None)
    check_versions(config, catalog)
    if split is not None:
        catalog = split.align(catalog)
    start = _find_start(config, split)
    device = resolve_device(config.device).main
    if catalog.arrays is not None:
        digests: list[str | OSError] = [*digest_features(catalog)]
        if split is not None:
            split.check_contents(catalog, digests)
        catalog, leakage = (
            _guard(config, catalog, None, split, progress, digests, start) if guard else (catalog, Leakage((), ()))
        )
        given = f"{len(catalog.videos)} videos, features given"
        catalog, split = _decide(config, catalog, split, digests, None, {}, start)
        return Data(catalog, split, from_arrays(catalog), None, 0.0, {}, given, leakage)
    logger.info("features store: %s", config.features.store, extra=LINE)
    with (
        distributed.rank_zero_first(),
        stage(f"Loading {config.backbone.name}", progress),
    ):  # it may download the weights
        backbone = load_backbone(config)
    check_windows(config, backbone)
    prepare(backbone, config, device)
    if guard:
        check_spike_target(config, find_encoder(backbone))
    if guard and (needed := check_memory(config, find_encoder(backbone), trains=trains)):
        logger.info("from frames: about %s of memory", show_bytes(needed), extra=LINE)
    if guard and trains and split is None:
        _check_start(config, catalog, backbone)
    described = describe_backbone(backbone, config)
    if split is not None:
        split.check_backbone(described)
    contents = read_contents(catalog, config, progress)
    if split is not None:
        split.check_contents(catalog, contents.digests)
    leakage = Leakage((), ())
    if guard:
        catalog, leakage = _guard(config, catalog, backbone, split, progress, contents.digests, start)
    done = extract_features(catalog, config, backbone, device, progress, contents)
    summary = describe_extraction(catalog, done)
    if guard:  # ``extract`` prints it
        logger.info(summary)
    if split is not None and done.bad:
        names = ", ".join(catalog.videos[index].name for index in sorted(done.bad)[:3])
        raise WorkError(f"{len(done.bad)} videos of this run cannot be read any more: {names}")
    catalog, split = _decide(config, catalog, split, contents.digests, described, done.bad, start)
    if distributed.is_main():
        config.dataset.keep_features(catalog, done.features)
    versions = []
    if trains or config.evaluation.calibration:  # for which models may be trained
        versions = extract_versions(catalog, config, backbone, device, done.features, contents, progress)
    if versions:
        further = describe_versions(versions)
        summary = f"{summary}\n{further}"
        if guard:
            logger.info(further)
    features = replace(done.features, versions=tuple(one.features for one in versions))
    counts = {"videos_extracted": done.n_extracted, "videos_from_store": done.n_reused}
    seconds = done.seconds + sum(one.seconds for one in versions)
    return Data(catalog, split, features, backbone, seconds, counts, summary, leakage)


def check_background(config: Config, class_names: tuple[str, ...]) -> None:
    """Nothing, where ``evaluation.background`` is a class, or none is named.

    Raises:
        ConfigError: there is no such class.
    """
    name = config.evaluation.background
    if name is not None and name not in class_names:
        raise ConfigError(f"evaluation.background: no class {name!r}; {suggest(name, list(class_names))}")


def _find_start(config: Config, split: Split | None) -> TrainedOn | None:
    """What ``training.weights`` had learned from, when the run began; None where it begins from drawn weights."""
    if config.training.weights is None:
        return None
    return read_trained_on(config.training.weights) if split is None else split.start or UNKNOWN


def _check_start(config: Config, catalog: Catalog, backbone: Backbone) -> None:
    """Check that the weights that a training begins from are those of such a model, before hours of extraction.

    Raises:
        ConfigError: they are of another architecture.
    """
    if config.training.weights is not None:
        dim, classes = backbone.feature_dim * len(config.clip.streams), len(catalog.class_names)
        model = build_model(config.model, dim, classes, config.seed, find_encoder(backbone))
        check_fit(model, read_checkpoint(config.training.weights, mapped=True), config.training.weights)


def _guard(
    config: Config,
    catalog: Catalog,
    backbone: Backbone | None,
    split: Split | None,
    progress: bool,
    digests: Sequence[str | OSError],
    start: TrainedOn | None,
) -> tuple[Catalog, Leakage]:
    """The catalog with the folds to run, and what is known of leakage; of several processes the first looks."""
    provenance = None if backbone is None else backbone.provenance
    decided = split is not None
    folds, leakage = distributed.broadcast_object(
        lambda: guard_test(catalog, config, provenance, progress, decided=decided, digests=digests, start=start)
    )
    return replace(catalog, folds=folds), leakage


def _decide(
    config: Config,
    catalog: Catalog,
    split: Split | None,
    digests: Sequence[str | OSError],
    backbone: dict[str, Any] | None,
    bad: dict[int, str],
    start: TrainedOn | None,
) -> tuple[Catalog, Split]:
    """The catalog with all its sides, and the split: what the run decided before, or what it decides now."""
    if split is not None:
        return catalog, split
    share = config.training.validation_share
    catalog = draw_validation(catalog.without(set(bad)), share, BASELINE_VALIDATION, config.seed)
    settings = learned_settings(config)
    return catalog, freeze(catalog, digests, backbone=backbone, settings=settings, bad=bad, start=start)
