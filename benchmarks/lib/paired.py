"""What the benchmarks that compare two models share: every video's result, and differences video by video.

A run's result is an array over test videos; several seeds are its rows. Both models see the same videos, so that the
difference is taken in each video, averaged over seeds, and its interval found by drawing videos anew (bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snn_action.config import Config
from snn_action.evaluation import ClipPredictions, measure_accuracy, predict_clips
from snn_action.evaluation.accuracy import average_clips
from snn_action.models import build_model
from snn_action.runs import pipeline
from snn_action.runs.folder import fold_folder
from snn_action.training import load_weights, resolve_device

DRAWS = 10_000


@dataclass
class Tested:
    """Results of a model over seeds.

    Attributes:
        video: Whether each test video's class was named rightly (seeds, V).
        timestep: Share of its real steps at which it was (seeds, V).
        baseline: ``video`` accuracy of the baseline, by seed; of those that were asked for it.
        train: ``video`` accuracy on training videos, by seed.
        spikes: A neuron and step, by seed; empty where the model does not spike.
        seconds: Of training, by seed.
    """

    video: list[np.ndarray] = field(default_factory=list)
    timestep: list[np.ndarray] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    spikes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, config: Config) -> None:
        """Do the whole job of a configuration; its test videos are opened once, at the end."""
        run = pipeline.run(config)
        data = pipeline.load_data(config)
        folds, video, timestep, train = data.catalog.folds, {}, {}, []
        device = resolve_device(config.device).main
        for fold in folds:
            model = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed)
            load_weights(model, fold_folder(run.folder, fold.name, data.fold_names) / "checkpoints" / "best.ckpt")

            def predict(videos: Sequence[int], model: Any = model) -> ClipPredictions:
                clips = data.features.clips_of(videos)
                return predict_clips(model, data.features, clips, config.evaluation.batch_size, device)

            tested = predict(fold.test)
            named = average_clips(tested)
            video.update(zip(named.video.tolist(), named.correct.tolist(), strict=True))
            timestep.update(_steps_by_video(tested))
            train.append(measure_accuracy(predict(fold.train))["video"])
        self.video.append(np.array([video[key] for key in sorted(video)], float))
        self.timestep.append(np.array([timestep[key] for key in sorted(timestep)]))
        if config.evaluation.baseline:
            self.baseline.append(float(run.metrics.get("mean", run.metrics)["baseline"]["video"]))
        self.train.append(float(np.mean(train)))
        self.seconds.append(run.metrics["seconds"]["train"])
        if run.metrics["spikes"]:
            self.spikes.append(run.metrics["spikes"]["per_neuron_per_step"])


def _steps_by_video(predictions: ClipPredictions) -> dict[int, float]:
    right = (predictions.probabilities.argmax(2) == predictions.label[:, None]) & predictions.mask
    return {
        int(key): float(right[predictions.video == key].sum() / predictions.mask[predictions.video == key].sum())
        for key in np.unique(predictions.video)
    }


def join(runs: Sequence[Tested]) -> Tested:
    """Several seeds together."""
    return Tested(*([one for run in runs for one in getattr(run, name)] for name in Tested.__dataclass_fields__))


def compare(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> str:
    """Points by which ``one`` is better than ``other``, with the 95 % interval over videos."""
    difference = np.mean(one, 0) - np.mean(other, 0)
    rng = np.random.default_rng(0)
    drawn = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{100 * difference.mean():+z.2f} [{100 * low:+z.1f}, {100 * high:+z.1f}]"
