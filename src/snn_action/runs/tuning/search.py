"""The search: an Optuna study whose trials are candidates, each tested on inner folds until it is clearly worse.

The study lies in a database, so that a search that was stopped or killed goes on, and several processes, on several
machines, may share one.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.progress import quietly
from snn_action.runs.tuning.candidates import Candidate
from snn_action.runs.tuning.choice import Outcome, value_of
from snn_action.runs.tuning.spaces import BASELINE, list_baselines, list_starts, propose
from snn_action.runs.tuning.storage import check_file, explain_storage, open_storage
from snn_action.runs.tuning.validation import FoldScore, Validation

logger = logging.getLogger(__name__)

WAITS = (0.1, 0.3, 1.0)  # seconds, before the tables are made once more
MOST_FAILURES = 20  # candidates in a row, and none that could be trained
FIRST = 8  # trials of which none is stopped early
PROCESS, REASON, AGAIN = "process", "reason", "again"  # attributes of a trial
optuna.logging.set_verbosity(optuna.logging.ERROR)  # what can go wrong is said by us


@dataclass(frozen=True)
class Plan:
    """What is searched, and how long.

    Attributes:
        kinds: Types of models.
        sources: What they may see (``candidates.list_sources``).
        sizes: Features of each stream.
        steps: Time steps of the longest clip.
        seconds: After which no further candidate is begun; baselines are tested before.
        trials: Candidates of this process; None: as many as the time allows.
        seed: Of what is drawn.
    """

    kinds: tuple[str, ...]
    sources: tuple[str, ...]
    sizes: tuple[int, ...]
    steps: int
    seconds: float
    trials: int | None
    seed: int


def open_study(storage: str | Path, name: str, fits: dict[str, Any], seed: int) -> optuna.Study:
    """The study of that name, made where there is none.

    Args:
        storage: A file, or the address of a database (``sqlite:///FILE``).
        name: Of the study.
        fits: What all its trials must share: videos, folds, models.
        seed: Of what is drawn.

    Raises:
        ConfigError: the database cannot be used, is another program's or damaged, or the study was begun with something
            else.
    """
    if not isinstance(storage, str):
        check_file(storage)
    try:
        study = _make_study(storage, name)
        study.sampler = optuna.samplers.TPESampler(
            seed=(seed + len(study.trials) + 7919 * os.getpid() * bool(study.trials)) % 2**32, n_startup_trials=FIRST
        )
        begun = study.user_attrs.get("fits")
        if begun is None:
            study.set_user_attr("fits", fits)
    except Exception as error:  # whatever its database raises
        raise ConfigError(
            f"{storage}: the search's trials cannot be kept there ({explain_storage(error)}); name another --storage"
        ) from None
    if begun is not None and not isinstance(begun, dict):
        raise ConfigError(f"{storage}: no search of this program; choose another --out or --storage")
    if begun is not None and begun != fits:
        changed = ", ".join(sorted(key for key in {*begun, *fits} if begun.get(key) != fits.get(key)))
        raise ConfigError(f"{storage}: this search was begun with other {changed}; choose another --out or --storage")
    try:
        list_outcomes(study)
        _release(study)
    except optuna.exceptions.OptunaError:
        raise
    except Exception as error:  # whatever somebody has put there
        why = explain_storage(error)
        raise ConfigError(
            f"{storage}: a trial there is none of this program ({why}); choose another --out or --storage"
        ) from None
    return study


def _make_study(storage: str | Path, name: str) -> optuna.Study:
    """Optuna's study. Of several processes that begin at once each makes the tables, and only the first one can."""
    for wait in (*WAITS, None):
        try:
            return optuna.create_study(
                storage=open_storage(storage),
                study_name=name,
                load_if_exists=True,
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST),
            )
        except Exception:  # of many kinds: each database has its own
            if wait is None:
                raise
            time.sleep(wait)
    raise AssertionError  # the last turn returns or raises


def search(
    study: optuna.Study, validation: Validation, plan: Plan, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Test the baselines, then candidates, until the time or the number of trials is used up.

    Raises:
        WorkError: the time was over before one candidate was tested, or all of them failed.
    """
    for candidate in list_baselines(plan.sources):
        if candidate.to_text() not in _find_tested(study):
            tell(f"baseline on {candidate.source}")
            with quietly():
                scores = [*validation.test(candidate)]
            attributes = _describe(candidate, scores, validation.count())
            study.add_trial(optuna.trial.create_trial(value=_value(scores), user_attrs=attributes))
    for start in list_starts(plan.kinds, plan.sources, plan.steps):
        study.enqueue_trial(start, skip_if_exists=True)
    done, deadline = 0, time.monotonic() + plan.seconds
    while time.monotonic() < deadline and (plan.trials is None or done < plan.trials):
        if done >= MOST_FAILURES and not _has_head(study):
            break
        trial = study.ask()
        trial.set_user_attr(PROCESS, _process())
        done += 1
        try:
            candidate = propose(trial, plan.kinds, plan.sources, plan.sizes, plan.steps)
        except (ValueError, TypeError, KeyError) as error:  # of settings that were put into the queue
            trial.set_user_attr(REASON, f"a trial in the queue: {error or type(error).__name__}")
            study.tell(trial, state=TrialState.FAIL)
            continue
        tell(f"{candidate.kind} on {candidate.source}; {_tell_best(study)}")
        with quietly():
            _try(study, trial, candidate, validation, deadline)
    if not _has_head(study):
        reasons = [trial.user_attrs[REASON] for trial in study.trials if REASON in trial.user_attrs]
        if reasons:
            raise WorkError(f"no head could be trained; the last reason: {reasons[-1]}")
        raise WorkError(
            f"the budget of {plan.seconds:g} s was over before one head was tried; give a larger --budget (what was "
            "done is kept, the same command goes on from there)"
        )


def list_outcomes(study: optuna.Study) -> list[Outcome]:
    """All candidates that were tested on every inner fold, in the order of their trials.

    Raises:
        ValueError: what is kept of one is something else; or a ``KeyError``, ``TypeError`` or ``AttributeError``.
    """
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    found = [_read_outcome(trial.user_attrs) for trial in trials]
    if len({(len(one.right), len(one.folds)) for one in found}) > 1:
        raise ValueError("they are of different videos")
    return found


def _read_outcome(kept: Mapping[str, Any]) -> Outcome:
    right = np.frombuffer(kept["right"].encode(), np.uint8) == ord("1")
    folds, operations = tuple(map(float, kept["folds"])), dict(kept["operations"])
    loss, seconds = float(kept["loss"]), float(kept["seconds"])
    if not len(right) or not np.isfinite([loss, seconds, *folds, *map(float, operations.values())]).all():
        raise ValueError("its scores are none")
    return Outcome(Candidate.parse(kept["candidate"]), right, folds, loss, seconds, operations)


def _try(
    study: optuna.Study, trial: optuna.Trial, candidate: Candidate, validation: Validation, deadline: float
) -> None:
    """Test a candidate; it is given up where it is worse than most were after as many folds, or cannot be trained.

    One that is under way at the deadline is put back into the queue, unless it is the first.
    """
    known = _find_tested(study).get(candidate.to_text())
    if known is not None:
        for key, value in known.user_attrs.items():
            trial.set_user_attr(key, value)
        study.tell(trial, known.value)
        return
    scores: list[FoldScore] = []
    late = False
    try:
        for step, score in enumerate(validation.test(candidate), 1):
            scores.append(score)
            trial.report(_value(scores), step)
            if step < len(validation.inner) and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return
            if step < len(validation.inner) and time.monotonic() >= deadline:
                if _has_head(study):
                    study.tell(trial, state=TrialState.FAIL)
                    study.enqueue_trial(trial.params)
                    return
                if not late:
                    logger.warning("the budget is too small for one head; this one is still tested to its end")
                late = True
        for key, value in _describe(candidate, scores, validation.count()).items():
            trial.set_user_attr(key, value)
    except optuna.exceptions.OptunaError:
        raise
    except Exception as error:  # no memory, say: it costs this candidate
        trial.set_user_attr(REASON, f"{candidate.kind}: {error or type(error).__name__}")
        study.tell(trial, state=TrialState.FAIL)
        return
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)  # stopped by the user, not by a fault of its own
        raise
    study.tell(trial, _value(scores))


def _has_head(study: optuna.Study) -> bool:
    """Whether anything but baselines was tested on all inner folds."""
    return any(outcome.candidate.kind != BASELINE for outcome in list_outcomes(study))


def _value(scores: Sequence[FoldScore]) -> float:
    right, loss = (np.concatenate([getattr(score, name) for score in scores]) for name in ("right", "loss"))
    return value_of(float(right.mean()), float(loss.mean()), len(right))


def _describe(candidate: Candidate, scores: Sequence[FoldScore], operations: dict[str, float]) -> dict[str, Any]:
    right = np.concatenate([score.right for score in scores])
    return {
        "candidate": candidate.to_text(),
        "right": "".join("1" if one else "0" for one in right),
        "folds": [score.accuracy for score in scores],
        "loss": float(np.concatenate([score.loss for score in scores]).mean()),
        "seconds": float(np.mean([score.seconds for score in scores])),
        "operations": operations,
    }


def _find_tested(study: optuna.Study) -> dict[str, FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return {trial.user_attrs["candidate"]: trial for trial in trials}


def _tell_best(study: optuna.Study) -> str:
    best = max(list_outcomes(study), key=lambda one: one.value)
    return f"best so far {100 * best.accuracy:.1f} %, {best.candidate.kind} on {best.candidate.source}"


def _process() -> str:
    return json.dumps([socket.gethostname(), os.getpid()])


def _release(study: optuna.Study) -> None:
    """Give up trials of processes of this machine that are gone, and put what they tried back into the queue."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        host, number = json.loads(trial.user_attrs.get(PROCESS, '["", 0]'))
        if host == socket.gethostname() and not _is_alive(number):
            study.tell(trial.number, state=TrialState.FAIL)
            if not trial.user_attrs.get(AGAIN):  # what was killed twice may be what kills
                study.enqueue_trial(trial.params, user_attrs={AGAIN: True})


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
