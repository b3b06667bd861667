import pytest
import torch

from snn_action.models import build_model
from snn_action.training.objective import Objective, TrainingCounts


def test_counts_are_those_of_a_loop():
    torch.manual_seed(0)
    counts = TrainingCounts()
    assert counts.take() == {}
    losses, steps, last, clip = [], [], [], []
    for size in (3, 5):
        logits, label = torch.randn(size, 4, 3), torch.randint(3, (size,))
        lengths = torch.randint(1, 5, (size,))
        loss = torch.rand(())
        counts.add(logits, torch.arange(4) < lengths.unsqueeze(1), label, loss)
        losses += [float(loss)] * size
        for c in range(size):
            shown = logits[c, : lengths[c]].softmax(-1)
            steps += [bool(row.argmax() == label[c]) for row in shown]
            last.append(bool(shown[-1].argmax() == label[c]))
            clip.append(bool(shown.mean(0).argmax() == label[c]))
    taken = counts.take()
    for key, values in (("loss", losses), ("timestep", steps), ("last", last), ("clip", clip)):
        assert taken[key] == pytest.approx(sum(values) / len(values)), key
    assert counts.take() == {}


def test_noise_is_in_units_of_each_features_deviation(settings):
    config = settings(feature_noise=0.5, loss={"timestep": 1.0})
    model = build_model({"type": "mean_pool"}, 2, 3)
    deviation = torch.tensor([10.0, 0.01])
    model.standardizer.scale = 1 / deviation
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    features, mask = torch.full((400, 10, 2), 3.0), torch.ones(400, 10, dtype=torch.bool)
    Objective(model, config.training)(features, mask, torch.zeros(400).long())
    assert (seen[0] - 3).std((0, 1)) == pytest.approx(0.5 * deviation, rel=0.05)
