"""What several processes make of a batch and of a test, without starting any."""

import numpy as np
import pytest
import torch

from snn_action.evaluation.predictions import ClipPredictions, interleave, predict_clips
from snn_action.models import build_model
from snn_action.training.clips import ClipDataset


@pytest.mark.parametrize(("clips", "processes"), [(8, 2), (7, 2), (7, 3), (1, 2), (2, 5)])
def test_weighted_means_of_the_shares_are_the_mean_of_the_batch(features, clips, processes):
    chosen = list(range(10, 10 + clips))
    batches = [
        ClipDataset(features, chosen, rank, processes).__getitems__([*range(clips)]) for rank in range(processes)
    ]
    value = torch.arange(100.0).square()  # of a clip, by its label and length
    means = [batch.weight * value[batch.label + batch.mask.sum(1)].mean() for batch in batches]
    wanted = value[torch.from_numpy(features.label[chosen] + features.length[chosen])].mean()
    torch.testing.assert_close(torch.stack(means).mean(), wanted)
    real = [label for batch in batches if batch.weight for label in batch.label.tolist()]
    assert sorted(real) == sorted(features.label[chosen].tolist())


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_shares_of_a_test_are_put_together_as_one_process_gives_them(features, processes):
    model = build_model({"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 5}, features.dim, 3, 0)
    clips = [3, 9, 30, 2, 17]
    whole = predict_clips(model, features, clips, 2)
    shares = [clips[rank::processes] for rank in range(processes)]
    parts = [predict_clips(model, features, share, 2) for share in shares if share]
    joined: ClipPredictions = interleave(parts)
    np.testing.assert_allclose(joined.probabilities, whole.probabilities, atol=1e-6)
    for name in ("mask", "label", "video", "spikes"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
