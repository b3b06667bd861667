"""What the benchmarks of energy share: the work of a temporal model on a mean clip, not on a single one."""

from collections.abc import Sequence

from snn_action.evaluation import ClipPredictions
from snn_action.evaluation.accuracy import measure_spikes
from snn_action.evaluation.energy.count import count_head
from snn_action.evaluation.energy.layers import Layer, average_layers
from snn_action.features.feature_set import FeatureSet
from snn_action.models import TemporalModel

CLIPS = 16


def count_mean(
    model: TemporalModel, features: FeatureSet, clips: Sequence[int], predictions: ClipPredictions, most: int = CLIPS
) -> list[Layer]:
    """Layers of ``model``: spikes are the mean of its ``predictions``, other counts that of ``most`` of the ``clips``.

    These are evenly spread: clips of a class follow one another.
    """
    spikes = measure_spikes(predictions, model.populations)
    chosen = clips[:: max(1, len(clips) // most)][:most]
    return average_layers([count_head(model, features.read([clip])[0], spikes) for clip in chosen])
