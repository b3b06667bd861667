"""Makes the weights of the backbone `spiking_cnn`: src/snn_action/backbones/weights/spiking_cnn.{safetensors,json}.

    python scripts/make_spiking_weights.py [--folder FOLDER]

Renders clips of synthetic figures that no synthetic dataset holds (another seed, and groups beyond the 99 that a
dataset may have), and trains the spiking network, in its default settings, to say at every frame where the joints are
and which of the nine movements is made, forwards or backwards alike. It takes about half an hour on one core and gives
the same weights each time on one machine, of one version of the generator: ``spiking_cnn.json`` names that of the
shipped ones.
"""

import numpy as np
import torch
from make_tiny_weights import (
    ERROR_UNIT,
    MOVEMENTS,
    augment,
    make_targets,
    measure_error,
    read_folder,
    render_decoded,
    render_groups,
    write_weights,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from snn_action.backbones.settings import SpikingCNNSettings
from snn_action.backbones.spiking_cnn import WEIGHTS, SpikingCNN
from snn_action.datasets.synthetic.casting import draw_clip
from snn_action.datasets.synthetic.figure import JOINTS
from snn_action.datasets.synthetic.generate import VERSION
from snn_action.datasets.synthetic.motions import ACTIONS
from snn_action.video.transforms import resize

SEED = 20_200_602
GROUPS = range(2001, 2281)
HELD_OUT = range(2001, 2021)  # of the groups: only to state the error of what was learned
FRAMES, RATE, STRIDE = 32, 16, 2
EPOCHS, BATCH, LEARNING_RATE = 10, 8, 3e-3
SETTINGS = SpikingCNNSettings()


def make_group(group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips (n, T, 3, S, S) of one group as a dataset would decode them, joints (n, T, J, 2), movements (n,)."""
    torch.set_num_threads(1)
    frames, joints = [], []
    for action in MOVEMENTS:
        alike = [other for other in ACTIONS if other.motion == action.motion]
        clip = draw_clip(SEED, group, 1, alike[group % len(alike)], FRAMES, RATE)
        decoded, places = render_decoded(clip, RATE)
        frames.append(resize(decoded[::STRIDE], SETTINGS.size).numpy())
        joints.append(places[::STRIDE])
    return np.stack(frames), np.stack(joints), np.arange(len(MOVEMENTS))


class Learner(nn.Module):
    """The network, and two linear maps from its features at every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.network = SpikingCNN(SETTINGS)
        self.pose = nn.Linear(self.network.feature_dim, 2 * len(JOINTS) + 2)
        self.movement = nn.Linear(self.network.feature_dim, len(MOVEMENTS))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and logits of movements (B, T, ...) of images (B, T, 3, S, S) in 0..255."""
        x = clips.flatten(2)
        features, _ = self.network(x, self.network.initial_state(len(x), x.device, x.dtype), None)
        return self.pose(features), self.movement(features)


def measure_loss(learner: Learner, clips: Tensor, targets: Tensor, movements: Tensor) -> Tensor:
    """Of the places of joints, and of movements, over all frames."""
    pose, logits = learner(clips)
    named = cross_entropy(logits.flatten(0, 1), movements.repeat_interleave(logits.shape[1]))
    return smooth_l1_loss(pose, targets) * 4 + 0.3 * named


def train(clips: Tensor, targets: Tensor, movements: Tensor) -> Learner:
    """Train on clips (n, T, 3, S, S) uint8."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    learner = Learner().train()
    optimizer = torch.optim.AdamW(learner.parameters(), LEARNING_RATE, weight_decay=1e-3)
    steps = EPOCHS * (len(clips) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    for epoch in range(EPOCHS):
        losses = []
        for rows in torch.randperm(len(clips), generator=generator)[: len(clips) // BATCH * BATCH].split(BATCH):
            lit = augment(clips[rows].transpose(1, 2).flatten(2, 3), generator)  # one draw a clip: frames are rows
            images = lit.unflatten(2, (-1, SETTINGS.size)).transpose(1, 2)
            loss = measure_loss(learner, images, targets[rows], movements[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {EPOCHS}: mean loss {np.mean(losses):.3f}", flush=True)
    return learner.eval()


def main() -> None:
    """Render, train, state the error on groups held out, write."""
    folder = read_folder(__doc__)
    clips, joints, movements = render_groups(make_group, GROUPS)
    targets = make_targets(joints.float().flatten(0, 1)).unflatten(0, clips.shape[:2])
    held = len(clips) * len(HELD_OUT) // len(GROUPS)
    learner = train(clips[held:], targets[held:], movements[held:])
    with torch.inference_mode():
        found = [learner(part.float()) for part in clips[:held].split(BATCH)]
        pose, logits = (torch.cat(part) for part in zip(*found, strict=True))
        accuracy = (logits.argmax(-1) == movements[:held, None]).double().mean()
    provenance = {
        "trained_on": "clips of synthetic figures that no synthetic dataset holds: places of joints, movements",
        "videos": [],
        "script": "scripts/make_spiking_weights.py",
        "generator": VERSION,
        "seed": SEED,
        "groups": [GROUPS.start, GROUPS.stop - 1],
        "groups_held_out": [HELD_OUT.start, HELD_OUT.stop - 1],
        "clips": len(clips) - held,
        "frames": (len(clips) - held) * clips.shape[1],
        "epochs": EPOCHS,
        "joint_error": measure_error(pose, targets[:held]),
        "joint_error_unit": ERROR_UNIT,
        "movement_accuracy": round(float(accuracy), 4),
    }
    write_weights(folder / WEIGHTS.name, learner.network, provenance)


if __name__ == "__main__":
    main()
