"""Copies of a model's state on a stream: each sees clips, whatever the stream's length."""

import numpy as np
import pytest
import torch

from snn_action.core.errors import WorkError
from snn_action.evaluation.staggered import LeakyEvidence, StaggeredRows
from snn_action.models import build_model, list_models

FRAMES, ROWS, STEPS = 8, 4, 29


def make(name):
    sizes = {
        "spiking_lmu": {"units": 12, "memory_d": 4, "max_rates": (400.0, 800.0)},
        "ensemble_array": {"n_ensembles": 4, "n_neurons": 5},
    }.get(name, {})
    return build_model({"type": name, **sizes}, 6, 3, seed=0).eval()


def begin_of(row, step):
    """Where the clip began that a row sees at a step."""
    first = (row + 1) * FRAMES // ROWS
    return 0 if step < first else first + (step - first) // FRAMES * FRAMES


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("together", [1, 5])
def test_each_row_says_what_the_model_says_of_a_clip(name, together):
    model = make(name)
    features = torch.randn(STEPS, 6, generator=torch.Generator().manual_seed(0))
    rows = StaggeredRows(model, FRAMES, ROWS)
    said = [rows.advance(part) for part in features.split(together)]
    shares, ages, totals = (np.concatenate(parts) for parts in zip(*said, strict=True))
    assert shares.shape == (STEPS, ROWS, 3)
    assert ages.max() == FRAMES
    with torch.inference_mode():
        for step in range(STEPS):
            for row in range(ROWS):
                begin = begin_of(row, step)
                assert ages[step, row] == step - begin + 1
                logits, _ = model(features[begin : step + 1].unsqueeze(0))
                np.testing.assert_allclose(shares[step, row], logits[0, -1].softmax(-1).numpy(), atol=2e-5)
                assert totals[step, row] == pytest.approx(float(logits[0, -1].logsumexp(-1)), abs=2e-4)
    np.testing.assert_allclose(said[0].mean, said[0].shares.mean(1), atol=1e-6)


@pytest.mark.parametrize("together", [1, 5])
def test_spikes_are_those_of_the_first_row(together):
    model = make("spiking_lmu")
    features = 3 * torch.randn(STEPS, 6, generator=torch.Generator().manual_seed(0))
    rows = StaggeredRows(model, FRAMES, ROWS, shows=True)
    spikes = []
    for part in features.split(together):
        rows.advance(part)
        spikes.append(rows.spikes)
    spikes = np.concatenate(spikes)
    wanted = [model.show_spikes(features[a:b].unsqueeze(0))[0] for a, b in ((0, 2), (2, 10), (10, 18))]
    np.testing.assert_array_equal(spikes[:18], torch.cat(wanted).detach().numpy())
    assert spikes.sum() > 0


def test_a_model_that_does_not_spike_shows_nothing():
    rows = StaggeredRows(make("lmu"), FRAMES, ROWS, shows=True)
    rows.advance(torch.zeros(3, 6))
    assert rows.spikes is None


def test_there_are_no_more_rows_than_steps():
    assert StaggeredRows(make("lmu"), 2, 4).rows == 2
    assert StaggeredRows(make("lmu"), 1, 4).advance(torch.zeros(5, 6)).ages.tolist() == [[1]] * 5


def test_output_that_is_not_finite_is_an_error():
    model = make("lmu")
    with torch.no_grad():
        model.readout.bias.fill_(float("nan"))
    with pytest.raises(WorkError, match="not finite"):
        StaggeredRows(model, FRAMES, ROWS).advance(torch.zeros(3, 6))


def test_the_leak():
    leak = LeakyEvidence(2.0)
    np.testing.assert_allclose(leak.add([1.0, 0.0]), [1, 0])
    a = np.exp(-0.5)
    np.testing.assert_allclose(leak.add([0.0, 1.0]), [a / (1 + a), 1 / (1 + a)])
    for _ in range(50):
        last = leak.add([0.0, 1.0])
    np.testing.assert_allclose(last, [0, 1], atol=1e-9)
