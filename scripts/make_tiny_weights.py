"""Makes the weights of the backbone `tiny`: src/snn_action/backbones/weights/tiny.{safetensors,json}.

    python scripts/make_tiny_weights.py [--folder FOLDER]

Renders single frames of synthetic figures that no synthetic dataset holds (another seed, and groups beyond the 99
that a dataset may have), and trains the network to say from one frame where the joints are and which of the nine
movements is made. It takes about six minutes on two cores and gives the same weights each time on one machine, of one
version of the generator: ``tiny.json`` names that of the shipped ones.
"""

import argparse
import io
import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torch.nn.utils.fusion import fuse_conv_bn_eval

from snn_action.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from snn_action.backbones.tiny import FEATURES, SIZE, WEIGHTS, TinyNetwork
from snn_action.datasets.synthetic.casting import Clip, draw_clip
from snn_action.datasets.synthetic.figure import INDEX, JOINTS
from snn_action.datasets.synthetic.generate import VERSION
from snn_action.datasets.synthetic.motions import ACTIONS
from snn_action.datasets.synthetic.render import render_clip
from snn_action.datasets.synthetic.video_file import encode_avi
from snn_action.video.transforms import normalize, resize

SEED = 20_200_602
GROUPS = range(1001, 1301)
HELD_OUT = range(1001, 1021)  # of the groups: only to state the error of what was learned
CLIPS, FRAMES, RATE, PICTURE = 1, 8, 4, 112
EPOCHS, BATCH, LEARNING_RATE = 10, 128, 2e-3
ERROR_UNIT = "sides of the picture, mean over joints of held-out groups, from the pelvis"
MOVEMENTS = list({action.motion: action for action in ACTIONS}.values())


def render_decoded(clip: Clip, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, S, S, 3) of a clip as a dataset would decode them, and joints (T, J, 2)."""
    pictures, places = render_clip(clip, PICTURE)
    with av.open(io.BytesIO(encode_avi(pictures, rate))) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return decoded, places


def make_group(group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (n, 3, S, S) of one group as a dataset would decode them, joints (n, J, 2), movements (n,)."""
    torch.set_num_threads(1)
    frames, joints, movements = [], [], []
    for movement, action in enumerate(MOVEMENTS):
        for clip in range(1, CLIPS + 1):
            drawn = draw_clip(SEED, group, clip, action, FRAMES, RATE)
            around = drawn.phase[0] + np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)  # no pose twice
            decoded, places = render_decoded(replace(drawn, phase=around), RATE)
            frames.append(resize(decoded, SIZE).numpy())
            joints.append(places)
            movements.append(np.full(FRAMES, movement))
    return np.concatenate(frames), np.concatenate(joints), np.concatenate(movements)


def make_targets(joints: Tensor) -> Tensor:
    """Joints (n, J, 2) in the picture to what is learned: the pelvis' place, and every joint's place from there."""
    pelvis = joints[:, INDEX["pelvis"]]
    return torch.cat([4 * (pelvis - 0.5), (8 * (joints - pelvis[:, None])).flatten(1)], 1)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Other light and colors: images (n, 3, S, S) in 0..255."""
    shape = (len(images), 3, 1, 1)
    gain = (
        1
        + 0.25 * (torch.rand(shape, generator=generator) - 0.5)
        + 0.3 * (torch.rand((len(images), 1, 1, 1), generator=generator) - 0.5)
    )
    return (images * gain + 25 * (torch.rand(shape, generator=generator) - 0.5)).clamp(0, 255)


class Learner(nn.Module):
    """The network with batch normalization while it learns, and two linear maps from its features."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork()
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer.out_channels) for layer in self.network.convolutions)
        self.pose = nn.Linear(FEATURES, 2 * len(JOINTS) + 2)
        self.movement = nn.Linear(FEATURES, len(MOVEMENTS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and logits of movements of normalized images."""
        x = images
        for convolution, norm in zip(self.network.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        features = self.network.linear(x.flatten(1))
        return self.pose(features), self.movement(features)

    def fused(self) -> TinyNetwork:
        """The network with the batch normalization folded into its convolutions."""
        self.eval()
        network = TinyNetwork().eval()
        network.linear = self.network.linear
        network.convolutions = nn.ModuleList(
            fuse_conv_bn_eval(layer, norm) for layer, norm in zip(self.network.convolutions, self.norms, strict=True)
        )
        return network


def see(images: Tensor) -> Tensor:
    """Images in 0..255 as the backbone sees them, channels last."""
    return normalize(images, IMAGENET_MEAN, IMAGENET_STD).contiguous(memory_format=torch.channels_last)


def train(images: Tensor, targets: Tensor, movements: Tensor) -> Learner:
    """Train on images (n, 3, S, S) uint8."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    learner = Learner().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(learner.parameters(), LEARNING_RATE, weight_decay=1e-3)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(images), generator=generator)[: len(images) // BATCH * BATCH].split(BATCH):
            pose, logits = learner(see(augment(images[rows], generator)))
            loss = smooth_l1_loss(pose, targets[rows]) * 4 + 0.3 * cross_entropy(logits, movements[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss of the last batch {loss.item():.3f}", flush=True)
    return learner.eval()


def measure_error(pose: Tensor, targets: Tensor) -> float:
    """Mean distance of joints, of their places from the pelvis, in sides of the picture."""
    distance = (pose[..., 2:] - targets[..., 2:]).unflatten(-1, (-1, 2)).norm(dim=-1)
    return round(float(distance.mean()) / 8, 4)


def write_weights(path: Path, network: nn.Module, provenance: dict[str, object]) -> None:
    """The network in half precision, and what it learned from beside it."""
    state = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(state))
    text = json.dumps({**provenance, "license": "MIT, as the package"}, indent=2)
    path.with_suffix(".json").write_text(f"{text}\n")
    print(text)


def read_folder(description: str) -> Path:
    """Where the weights go, from the command line."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=WEIGHTS.parent)
    folder: Path = parser.parse_args().folder
    return folder


def render_groups(make: Callable[[int], tuple[np.ndarray, ...]], groups: range) -> list[Tensor]:
    """What ``make`` gives of all groups, one after another; what follows gives the same each time."""
    torch.use_deterministic_algorithms(True)
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        made = list(track(pool.imap(make, groups), "Rendering", total=len(groups)))
    torch.set_num_threads(1)  # on so small a network a second thread costs more than it gives
    return [torch.from_numpy(np.concatenate(part)) for part in zip(*made, strict=True)]


def main() -> None:
    """Render, train, state the error on groups held out, write."""
    folder = read_folder(__doc__)
    images, joints, movements = render_groups(make_group, GROUPS)
    targets, held = make_targets(joints.float()), len(images) * len(HELD_OUT) // len(GROUPS)
    learner = train(images[held:], targets[held:], movements[held:])
    with torch.inference_mode():
        pose, logits = learner(see(images[:held]))
        accuracy = (logits.argmax(1) == movements[:held]).double().mean()
    provenance = {
        "trained_on": "single frames of synthetic figures that no synthetic dataset holds: places of joints, movements",
        "videos": [],
        "script": "scripts/make_tiny_weights.py",
        "generator": VERSION,
        "seed": SEED,
        "groups": [GROUPS.start, GROUPS.stop - 1],
        "groups_held_out": [HELD_OUT.start, HELD_OUT.stop - 1],
        "frames": len(images) - held,
        "epochs": EPOCHS,
        "joint_error": measure_error(pose, targets[:held]),
        "joint_error_unit": ERROR_UNIT,
        "movement_accuracy": round(float(accuracy), 4),
    }
    write_weights(folder / WEIGHTS.name, learner.fused(), provenance)


if __name__ == "__main__":
    main()
