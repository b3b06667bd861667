from types import SimpleNamespace

from torch import nn

from snn_action.models.base import Population
from snn_action.models.encoder import FrameEncoder
from snn_action.training.memory import BACKWARD, KERNELS, estimate_memory, measure_frame


def test_the_account_is_that_of_hand():
    """One linear layer with a ReLU: what it keeps of a frame is its input and the ReLU's result."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU())
    encoder = FrameEncoder(network, (3, 2, 2), 5)
    frame = measure_frame(encoder)
    assert frame == 4 * (12 + 5)
    config = SimpleNamespace(
        model=SimpleNamespace(recompute=False, frames_together=4),
        clip=SimpleNamespace(frames=10, streams=("rgb",)),
        training=SimpleNamespace(batch_size=3),
        evaluation=SimpleNamespace(batch_size=1),
    )
    weights, batch = 4 * 4 * (12 * 5 + 5), 2 * 30 * 4 * 12
    assert estimate_memory(config, encoder, frame) == weights + batch + round(BACKWARD * 30 * frame)
    assert estimate_memory(config, encoder, frame, recompute=True) == weights + batch + round(BACKWARD * 4 * frame)
    encoder.populations = (Population("hidden", 5, 2),)
    assert estimate_memory(config, encoder, frame) == int(KERNELS + weights + batch + round(BACKWARD * 30 * frame))
