"""Spaces of settings that are searched, one for each type of model, and what is tried first.

A space is a function of an Optuna trial. Heads of type ``lmu``, ``spiking_lmu`` and ``ensemble_array`` come in two
styles. *Solved*: nothing is trained by gradients, output weights are a regression on what the model represents at its
start; that takes seconds, and is best for small sets. *Trained*: by gradients, for tens of epochs.

A model without a space (another package's) is trained with its own defaults; only the streams, the epochs and the
learning rate are searched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from snn_action.runs.tuning.candidates import GIVEN, JOINED, LATE, Candidate

if TYPE_CHECKING:
    import optuna

SPIKING = ("spiking_lmu", "ensemble_array")
DEFAULT = ("lmu", *SPIKING)
BASELINE = "mean_pool"
SHARES = (1.0, 2.0, 3.0)  # weights of a stream, before they are divided by their sum
MOST_UNITS = 16384  # of on and off units together, which a higher order would need more of
MOST_TRAINED = 512  # values to remember where their projections are dense
ALL = 0  # values to remember: one for each input
SOLVED: dict[str, Any] = {"epochs": 0, "validation_share": 0}
UNIFORM = {"type": "spiking_rectified_linear", "initial_voltage": "uniform"}


@dataclass(frozen=True)
class Draw:
    """Draws the settings of one type of model; their names in the study begin with it."""

    trial: "optuna.Trial"
    kind: str

    def choose(self, name: str, values: Sequence[Any]) -> Any:
        """One of some values."""
        return self.trial.suggest_categorical(f"{self.kind}.{name}", values)

    def number(self, name: str, low: float, high: float) -> float:
        """A number between two, even in its logarithm."""
        return round(self.trial.suggest_float(f"{self.kind}.{name}", low, high, log=True), 4)

    def count(self, name: str, low: int, high: int) -> int:
        """A whole number from one to another."""
        return self.trial.suggest_int(f"{self.kind}.{name}", low, high)


Parts = tuple[dict[str, Any], dict[str, Any]]  # of sections ``model`` and ``training``
Space = Callable[[Draw, int, int], Parts]


def propose(
    trial: "optuna.Trial", kinds: Sequence[str], sources: Sequence[str], sizes: Sequence[int], steps: int
) -> Candidate:
    """The candidate of a trial.

    Args:
        trial: Of the study.
        kinds: Types of models that may be tried.
        sources: What they may see (``list_sources``).
        sizes: Features of each stream.
        steps: Time steps of the longest clip.
    """
    kind = trial.suggest_categorical("model", [*kinds])
    source = trial.suggest_categorical("source", [*sources])
    size = sum(sizes) if source in (JOINED, GIVEN) else sizes[0]
    model, training = SPACES.get(kind, _search_unknown)(Draw(trial, kind), size, steps)
    weights = None
    if source == LATE:
        drawn = [trial.suggest_categorical(f"late.{number}", SHARES) for number in range(len(sizes))]
        weights = tuple(share / sum(drawn) for share in drawn)
    return Candidate({"type": kind, **model}, source, training, weights)


def list_baselines(sources: Sequence[str]) -> list[Candidate]:
    """The mean-pool baseline on each source; it chooses its own penalty, on part of the training groups."""
    return [Candidate({"type": BASELINE}, source, {"validation_share": 0.2}) for source in sources]


def list_starts(kinds: Sequence[str], sources: Sequence[str], steps: int) -> list[dict[str, Any]]:
    """Trials to begin with: settings that have done well elsewhere, on every source.

    The first settings of every kind come before the second ones of any, so that a short search has seen each kind.
    """
    starts = []
    columns = ([(kind, settings) for settings in STARTS.get(kind, ())] for kind in kinds)
    turns = [turn for turn in chain.from_iterable(zip_longest(*columns)) if turn is not None]
    for source in reversed(sources):  # the richest first
        fused = {"late.0": 1.0, "late.1": 1.0} if source == LATE else {}
        for kind, settings in turns:
            named = {
                f"{kind}.{key}": min(value, 2.0 * steps) if key == "theta" else value for key, value in settings.items()
            }
            starts.append({"model": kind, "source": source, **fused, **named})
    return starts


def _search_reader(draw: Draw, size: int, steps: int) -> Parts:
    """What both kinds of LMU share."""
    seen = draw.choose("inputs", ("features", "difference", "both"))
    lags = draw.choose("lags", ("1", "2", "4", "1 4", "2 8"))
    inputs = ("features", "difference") if seen == "both" else (seen,)
    blocks = ("features" in inputs) + ("difference" in inputs) * len(lags.split())
    memory = draw.choose("memory_d", (128, 512, 1280, ALL)) or size * blocks
    model: dict[str, Any] = {
        "inputs": [*inputs],
        "lags": [int(lag) for lag in lags.split()],
        "order": draw.count("order", 1, 6),
        "theta": draw.number("theta", 1.5, 2.0 * steps),
        "normalize": draw.choose("normalize", (False, True)),
        "memory_d": min(size * blocks, memory),
    }
    if draw.choose("style", ("solved", "trained")) == "trained":
        model["memory_d"] = min(model["memory_d"], MOST_TRAINED)
        model["units"] = draw.choose("trained_units", (128, 512, 2048))
        model["input_noise"] = draw.choose("input_noise", (0.0, 0.5, 1.0))
        return model, _search_training(draw)
    model["encoders"] = draw.choose("encoders", ("on_off", "random"))
    if model["encoders"] == "on_off":
        model["memory_d"] = min(model["memory_d"], MOST_UNITS // 2)
        model["order"] = max(1, min(model["order"], MOST_UNITS // (2 * model["memory_d"])))
        model["units"] = 2 * model["memory_d"] * model["order"]
        model["opposed"] = draw.choose("opposed", (False, True))
    else:
        model["memory_d"] = min(model["memory_d"], MOST_TRAINED)
        model["units"] = draw.choose("units", (1024, 4096))
    model["readout"] = draw.choose("readout", ("logistic", "least_squares"))
    model["readout_strength"] = draw.number("strength", 0.003, 10.0)
    return model, dict(SOLVED)


def _search_lmu(draw: Draw, size: int, steps: int) -> Parts:
    model, training = _search_reader(draw, size, steps)
    return {**model, "activation": draw.choose("activation", ("relu", "tanh"))}, training


def _search_spiking_lmu(draw: Draw, size: int, steps: int) -> Parts:
    model, training = _search_reader(draw, size, steps)
    if model.get("encoders") == "on_off":
        rate = draw.choose("rate", (200.0, 500.0, 1000.0))
        spikes: dict[str, Any] = {"max_rates": [rate, rate], "intercepts": [0.0, 0.0], "tau_readout": 0.0005}
    else:
        rate = draw.choose("random_rate", (100.0, 300.0, 1000.0))
        spikes = {"max_rates": [rate / 2, rate], "tau_readout": draw.choose("tau_readout", (0.0005, 0.005, 0.02))}
    return {**model, **spikes}, training


def _search_ensemble_array(draw: Draw, size: int, steps: int) -> Parts:
    del size, steps
    model: dict[str, Any] = {
        "n_ensembles": draw.choose("n_ensembles", (200, 1000)),
        "n_neurons": draw.choose("n_neurons", (10, 50)),
        "neuron": dict(UNIFORM),
        "tau_input": draw.choose("tau_input", (0.001, 0.005, 0.02)),
        "normalize": draw.choose("normalize", (False, True)),
    }
    if draw.choose("style", ("solved", "trained")) == "trained":
        model |= {"input_noise": draw.choose("input_noise", (0.0, 0.5, 1.0)), "dropout": 0.5}
        return model, _search_training(draw)
    model["readout"] = draw.choose("readout", ("logistic", "least_squares"))
    model["readout_strength"] = draw.number("strength", 0.003, 10.0)
    return model, dict(SOLVED)


def _search_stacked_lmu(draw: Draw, size: int, steps: int) -> Parts:
    del size
    model = {
        "layers": draw.count("layers", 1, 3),
        "order": draw.count("order", 1, 6),
        "theta": draw.number("theta", 1.5, 2.0 * steps),
        "units": draw.choose("units", (64, 128, 256)),
        "input_noise": draw.choose("input_noise", (0.0, 0.5, 1.0)),
        "normalize": draw.choose("normalize", (False, True)),
    }
    return model, _search_training(draw)


def _search_lstm(draw: Draw, size: int, steps: int) -> Parts:
    del size, steps
    model = {
        "layers": draw.count("layers", 1, 3),
        "units": draw.choose("units", (64, 128, 256)),
        "readout_units": draw.choose("readout_units", (64, 256)),
        "input_noise": draw.choose("input_noise", (0.0, 0.5, 1.0)),
    }
    return model, _search_training(draw)


def _search_unknown(draw: Draw, size: int, steps: int) -> Parts:
    del size, steps
    return {}, _search_training(draw)


def _search_training(draw: Draw) -> dict[str, Any]:
    """By gradients, on all training groups: the last epoch counts."""
    return {
        "epochs": draw.choose("epochs", (5, 10, 20)),
        "learning_rate": draw.number("learning_rate", 3e-4, 1e-2),
        "batch_size": 40,
        "validation_share": 0,
        "loss": {"timestep": 1.0, "clip": 1.0},
    }


SPACES: dict[str, Space] = {
    "lmu": _search_lmu,
    "spiking_lmu": _search_spiking_lmu,
    "ensemble_array": _search_ensemble_array,
    "stacked_lmu": _search_stacked_lmu,
    "lstm": _search_lstm,
}
_SOLVED = {"style": "solved", "encoders": "on_off", "memory_d": ALL, "order": 2, "normalize": True}
_MOTION = {**_SOLVED, "inputs": "difference", "lags": "2", "theta": 2.0,
           "opposed": False, "readout": "logistic", "strength": 0.03}  # fmt: skip
_BOTH = {**_MOTION, "inputs": "both", "lags": "2 8", "memory_d": 1280, "order": 1}
_APPEARANCE = {**_SOLVED, "inputs": "features", "lags": "1", "theta": 8.0,
               "opposed": True, "readout": "least_squares", "strength": 3.0}  # fmt: skip
_FIRST = (_BOTH, _MOTION, _APPEARANCE)
STARTS: dict[str, list[dict[str, Any]]] = {
    "lmu": [{**start, "activation": "relu"} for start in _FIRST],
    "spiking_lmu": [{**start, "rate": 1000.0} for start in _FIRST],
    "ensemble_array": [
        {"style": "solved", "n_ensembles": 1000, "n_neurons": 50, "tau_input": 0.02, "normalize": True,
         "readout": "logistic", "strength": 0.3},
    ],
}  # fmt: skip
