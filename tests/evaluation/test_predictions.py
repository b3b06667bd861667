import numpy as np
import pytest
import torch

from snn_action.core.errors import WorkError
from snn_action.evaluation.predictions import predict_clips, record_spikes
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import build_model, find_spikes

SPIKING = {"type": "ensemble_array", "n_ensembles": 4, "n_neurons": 5}


@pytest.fixture
def features() -> FeatureSet:
    rows = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    stream = StreamRows((rows,), np.zeros(10, np.int64), np.arange(10) * 6)
    length = np.array([6, 1, 3, 6, 2, 5, 6, 4, 3, 2])
    return FeatureSet(np.arange(10) // 2, np.arange(10) // 2 % 3, length, (stream,))


@pytest.mark.parametrize("settings", [{"type": "lmu", "units": 5}, {"type": "lstm", "units": 5}, SPIKING])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_clip_gets_what_it_gets_alone(features, settings, batch_size):
    model = build_model(settings, 6, 3, seed=0)
    chosen = [7, 0, 1, 4, 9]
    found = predict_clips(model, features, chosen, batch_size)
    assert found.probabilities.shape == (5, 6, 3)
    assert found.probabilities.dtype == np.float32
    assert found.video.tolist() == [3, 0, 0, 2, 4]
    assert found.label.tolist() == [0, 0, 0, 2, 1]
    assert found.mask.sum(1).tolist() == [4, 6, 1, 2, 2]
    assert not found.probabilities[~found.mask].any()
    for row, clip in enumerate(chosen):
        x, _ = features.read([clip])
        with torch.no_grad():
            logits, state = model.eval()(x)
        length = x.shape[1]
        np.testing.assert_allclose(found.probabilities[row, :length], logits[0].softmax(-1), rtol=1e-4, atol=1e-6)
        if found.spikes is not None:
            assert found.spikes[row].tolist() == [float(count) for count in find_spikes(state)]
    assert (found.spikes is not None) == (model.n_neurons > 0)


def test_the_model_is_tested_in_evaluation_mode_and_given_back_as_it_was(features):
    model = build_model({"type": "lmu", "units": 5, "dropout": 0.9}, 6, 3, seed=0).train()
    a = predict_clips(model, features, range(10), 4)
    assert model.training
    assert model.readout.training
    b = predict_clips(model.eval(), features, range(10), 4)
    assert not model.training
    assert np.array_equal(a.probabilities, b.probabilities)


def test_recorded_spikes_are_those_of_the_prediction(features):
    settings = {"type": "spiking_lmu", "units": 30, "max_rates": (300.0, 450.0), "gradient": "rate", "dropout": 0.9}
    model = build_model(settings, 6, 3, seed=0).train()
    spikes = record_spikes(model, features, 4)
    assert model.training
    assert spikes.shape == (2, 30)
    assert spikes.sum() == predict_clips(model, features, [3, 4], 2).spikes[1].sum() > 0
    assert record_spikes(build_model({"type": "lstm", "units": 5}, 6, 3, seed=0), features, 4) is None
    rates = build_model({**settings, "neuron": {"type": "lif_rate"}}, 6, 3, seed=0)
    assert record_spikes(rates, features, 4) is None


def test_bad_input_is_refused(features):
    model = build_model({"type": "lmu", "units": 5}, 6, 3, seed=0)
    with pytest.raises(ValueError, match="no clips"):
        predict_clips(model, features, [], 4)
    with torch.no_grad():
        model.readout.bias[0] = torch.nan
    with pytest.raises(WorkError, match="not finite"):
        predict_clips(model, features, [0], 4)
