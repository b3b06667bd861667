from types import SimpleNamespace

import torch
from torch import nn

from snn_action.models.base import Population
from snn_action.models.encoder import FrameEncoder
from snn_action.training import memory
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
    assert estimate_memory(config, encoder, frame, frame) == weights + batch + round(BACKWARD * 30 * frame)
    assert estimate_memory(config, encoder, frame, frame, recompute=True) == weights + batch + round(
        BACKWARD * 4 * frame
    )
    encoder.populations = (Population("hidden", 5, 2),)
    assert estimate_memory(config, encoder, frame, frame) == int(
        KERNELS + weights + batch + round(BACKWARD * 30 * frame)
    )
    encoder.initial_state = lambda batch, *_: (torch.zeros(batch, 7), (torch.zeros(batch),))
    parts = 3 * 3  # three clips of ten frames, four at once
    assert estimate_memory(config, encoder, frame, frame, recompute=True) == int(
        KERNELS + weights + batch + round(BACKWARD * 4 * frame) + parts * 4 * 8
    )


def test_a_training_in_half_precision_keeps_less():
    """Of a layer its input and result in two bytes; the frame itself stays in four."""
    encoder = FrameEncoder(nn.Sequential(nn.Flatten(), nn.Linear(12, 50), nn.Linear(50, 5), nn.ReLU()), (3, 2, 2), 5)
    assert measure_frame(encoder) == 4 * (12 + 50 + 5)
    assert measure_frame(encoder, "bf16") == 2 * (12 + 50 + 5)


def test_files_that_were_read_are_no_memory_in_use(tmp_path, monkeypatch):
    """A group of processes counts them, and gives them back when it needs memory."""
    given = {
        "memory.max": "4000\n",
        "memory.current": "3900\n",
        "memory.stat": "anon 1200\nfile 2700\nshmem 200\ninactive_file 2000\nactive_file 500\n",
    }
    for name, text in given.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.find_free_memory(torch.device("cpu")) == 4000 - 3900 + 2500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.find_free_memory(torch.device("cpu")) > 10**6
