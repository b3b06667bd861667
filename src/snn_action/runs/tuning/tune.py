"""``snn-action tune``: choose a head on the training groups of each fold, write it down, and test it once."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from snn_action.config import Config, make_config
from snn_action.core import distributed, registry
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import write_atomic
from snn_action.core.progress import stage
from snn_action.datasets.catalog import Fold
from snn_action.models.end_to_end_settings import EndToEndSettings
from snn_action.runs import pipeline
from snn_action.runs.data import Data, load_data
from snn_action.runs.folder import learned_settings, plain_names
from snn_action.runs.tuning.candidates import list_sources
from snn_action.runs.tuning.choice import Choice, Outcome, choose, format_rows, make_rows
from snn_action.runs.tuning.search import Plan, list_outcomes, open_study, search
from snn_action.runs.tuning.spaces import BASELINE, DEFAULT, SPIKING
from snn_action.runs.tuning.storage import explain_storage
from snn_action.runs.tuning.validation import Validation, divide, list_limits

logger = logging.getLogger(__name__)

LATE_MODEL = "late_fusion"  # no type of its own here: any type may be fused late
TUNED, TABLE, TRIALS = "tuned.json", "tuning.json", "trials.sqlite"


@dataclass(frozen=True)
class TunedFold:
    """What was chosen for one fold.

    Attributes:
        name: Of the fold.
        file: Where the chosen configuration was written.
        config: The chosen configuration.
        choice: What was chosen, and why.
        rows: The best of each type of model and source.
        outcomes: Of all candidates that were tested on all inner folds, baselines among them.
        groups: Group of each validated video, in the order of the outcomes' ``right``.
        run: Of the chosen configuration, tested once; None where no test was asked for.
    """

    name: str
    file: Path
    config: Config
    choice: Choice
    rows: list[dict[str, Any]]
    outcomes: tuple[Outcome, ...]
    groups: tuple[str, ...]
    run: pipeline.Run | None = None

    @property
    def summary(self) -> str:
        """For the terminal."""
        lines = [f"split {self.name}: {len(self.outcomes)} heads tested on training groups (* is chosen)"]
        lines += [format_rows(self.rows), self.choice.explain(), f"configuration: {self.file}"]
        return "\n".join(lines if self.run is None else [*lines, self.run.summary])


@dataclass(frozen=True)
class Tuned:
    """The result of ``tune``."""

    folder: Path
    folds: tuple[TunedFold, ...]

    @property
    def accuracy(self) -> float | None:
        """``video`` accuracy of the chosen heads on the folds' test videos, the mean over folds; None: not tested."""
        found = [fold.run.metrics["accuracy"]["video"] for fold in self.folds if fold.run is not None]
        return sum(found) / len(found) if found else None

    @property
    def summary(self) -> str:
        """For the terminal."""
        parts = [fold.summary for fold in self.folds]
        if len(self.folds) > 1 and self.accuracy is not None:
            parts.append(f"over {len(self.folds)} splits, each with its own choice: video {100 * self.accuracy:.1f} %")
        return "\n\n".join(parts)


def tune(
    config: Config,
    *,
    out: Path | None = None,
    models: Sequence[str] | None = None,
    spiking: bool = False,
    seconds: float = 600.0,
    trials: int | None = None,
    inner_folds: int = 4,
    storage: str | None = None,
    test: bool = True,
    progress: bool = False,
) -> Tuned:
    """Choose model and settings by cross-validation on training groups, then test the choice once.

    Nothing is chosen on a test video: of each fold, candidates are trained and validated on the videos that it learns
    from. Where a dataset has several folds, each has a search and a choice of its own (nested cross-validation), since
    a test video of one fold is a training video of the others. Started again, a search goes on.

    Args:
        config: Videos, streams, backbone and store. Its model is not looked at: what is tried comes from ``spaces``.
        out: Folder of the search; default: ``tuning`` in the folder of the configuration's runs.
        models: Types of models; default: lmu, spiking_lmu and ensemble_array.
        spiking: Only spiking models.
        seconds: Budget of all folds together; features are extracted before.
        trials: At most so many candidates a fold.
        inner_folds: Inner folds, of whole groups.
        storage: Address of Optuna's database, shared by several machines; default: a file in ``out``.
        test: Train the choice on all training videos and test it once.
        progress: Show bars.

    Raises:
        ConfigError: the configuration cannot be followed, or nothing can be held out of a fold's training videos.
        WorkError: the budget was too small for one candidate, or files cannot be written.
    """
    if distributed.world_size() > 1:
        raise ConfigError(
            "tune works in one process; start the command several times instead: they share the search in one --out or "
            "--storage"
        )
    if isinstance(config.model, EndToEndSettings):
        raise ConfigError(
            "tune: tries temporal models on cached features, model 'end_to_end' is trained from frames; name another "
            "model, such as -o model.type=mean_pool, tune, and begin end to end from what it chose"
        )
    if isinstance(config.training.loss.spike_target, Mapping):
        raise ConfigError(
            "training.loss.spike_target: names populations of one model, but tune tries several; give one number"
        )
    kinds = _choose_kinds(models, spiking)
    if not seconds > 0 or inner_folds < 2 or (trials is not None and trials < 1):
        raise ConfigError("tune: --budget must be more than 0 s, --folds at least 2, --trials at least 1")
    folder = out or config.save_dir / config.name / "tuning"
    data = load_data(config, progress=progress, guard=True)
    inner = {fold.name: divide(data.catalog, fold, inner_folds, config.seed) for fold in data.catalog.folds}
    for fold in data.catalog.folds:
        for limit in list_limits(data.catalog, fold, inner[fold.name], inner_folds):
            logger.warning("split %s: %s", fold.name, limit)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    found = []
    for fold, name in zip(data.catalog.folds, plain_names([*inner]), strict=True):
        own = folder if len(inner) == 1 else folder / name
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{own}: cannot be made: {error.strerror}; name another folder with --out") from None
        plan = Plan(
            kinds,
            tuple(list_sources(config, data.split.from_videos)),
            tuple(stream.dim for stream in data.features.streams),
            data.features.steps,
            seconds / len(inner),
            trials,
            config.seed,
        )
        chosen = _tune_fold(config, data, fold, inner[fold.name], plan, storage or own / TRIALS, own, spiking, progress)
        if test:
            logger.info("split %s: testing the choice once", fold.name)
            run_id = None if len(inner) == 1 else f"{stamp}-{name}"
            tested = pipeline.run(chosen.config, run_id=run_id, progress=progress)
            chosen = replace(chosen, run=tested)
        found.append(chosen)
    return Tuned(folder, tuple(found))


def _choose_kinds(models: Sequence[str] | None, spiking: bool) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(models or DEFAULT))
    for kind in kinds:
        registry.find_settings("model", kind)  # its error names the nearest
    kinds = tuple(kind for kind in kinds if kind not in (BASELINE, LATE_MODEL) and (kind in SPIKING or not spiking))
    if not kinds:
        raise ConfigError(
            f"--models: nothing is left to try; spiking types are {', '.join(SPIKING)}, and {BASELINE} is always tried"
        )
    return kinds


def _tune_fold(
    config: Config,
    data: Data,
    fold: Fold,
    inner: Sequence[Fold],
    plan: Plan,
    storage: str | Path,
    folder: Path,
    spiking: bool,
    progress: bool,
) -> TunedFold:
    fits = {
        "models": [*plan.kinds],
        "streams": [*plan.sources],
        "videos, features or settings": _digest(config, data, inner),
    }
    study = open_study(storage, f"{config.name} {fold.name}", fits, config.seed)
    try:
        with stage(f"Trying heads, split {fold.name}", progress):
            search(study, Validation(config, data, inner), plan, lambda text: logger.info("trying %s", text))
        outcomes = list_outcomes(study)
    except (OptunaError, SQLAlchemyError) as error:
        raise WorkError(
            f"{storage}: cannot be read or written ({explain_storage(error)}); the trials are kept, try again"
        ) from None
    validated = [data.catalog.videos[index] for part in inner for index in part.test]
    groups = [video.name if video.group is None else video.group for video in validated]
    choice = choose(outcomes, groups, spiking=spiking)
    rows = make_rows(outcomes, choice, groups, config.clip.streams)
    tuned = _name(choice.chosen.candidate.apply(config), fold, data)
    table = {"split": fold.name, "explanation": choice.explain(), "rows": rows, "tried": len(outcomes)}
    try:
        write_atomic(folder / TUNED, tuned.to_json())
        write_atomic(folder / TABLE, json.dumps(table, indent=2) + "\n")
    except OSError as error:
        raise WorkError(f"{folder}: cannot be written: {error.strerror}; the trials are kept, try again") from None
    return TunedFold(fold.name, folder / TUNED, tuned, choice, rows, tuple(outcomes), tuple(groups))


def _digest(config: Config, data: Data, inner: Sequence[Fold]) -> str:
    """Of all that decides a candidate's score, but the candidate: contents, classes, groups, folds and settings."""
    members = data.split.members
    videos = [data.catalog.videos[index] for part in inner for index in part.test]
    settings = {
        key: value for key, value in learned_settings(config).items() if not key.startswith(("model", "dataset"))
    }
    said = [
        [(video.name, video.label, video.group, members[video.name].digest) for video in videos],
        [len(part.test) for part in inner],
        data.split.backbone,
        settings,
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _name(config: Config, fold: Fold, data: Data) -> Config:
    """The chosen configuration, under a name of its own, for this fold alone."""
    raw: dict[str, Any] = json.loads(config.to_json())
    raw["name"] = f"{config.name}_tuned"
    if len(data.catalog.folds) > 1:
        raw["dataset"]["split"] = _name_split(fold.name)
    return make_config(raw)


def _name_split(name: str) -> int | str:
    """As ``dataset.split`` says it: some datasets number their folds, and the fold ``007`` is not number 7."""
    return int(name) if name.isdecimal() and str(int(name)) == name else name
