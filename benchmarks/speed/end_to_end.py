"""Memory and seconds of a training step from frames, by what is trained and how memory is spared.

    python benchmarks/speed/end_to_end.py [--batch 4] [--frames 28] [--steps 3]

A step is forward, backward and AdamW on random frames, with an LMU of 128 units behind the backbone; each setting in a
process of its own, whose largest memory is read. Memory is also estimated as a run does before it begins.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import make_table, write_section
from benchmarks.lib.timing import ask
from snn_action.backbones import build_backbone
from snn_action.backbones.cut import FrozenPart, cut_backbone
from snn_action.config import Config, make_config
from snn_action.core.malloc import keep_freed_memory
from snn_action.models import build_model
from snn_action.training.memory import estimate_memory, measure_frame

CLASSES = 10
RESNET = {"name": "resnet18", "weights": "random"}
SPIKING = {"name": "spiking_cnn", "channels": [32, 64, 128, 256]}
SETTINGS: dict[str, tuple[dict[str, Any], int, dict[str, Any], str]] = {
    "resnet18, all": (RESNET, 224, {}, "32"),
    "resnet18, all, 28 frames at once": (RESNET, 224, {"recompute": True, "frames_together": 28}, "32"),
    "resnet18, all, 8 frames at once": (RESNET, 224, {"recompute": True, "frames_together": 8}, "32"),
    "resnet18 from layer3": (RESNET, 224, {"train_from": "layer3"}, "32"),
    "resnet18 from layer4": (RESNET, 224, {"train_from": "layer4"}, "32"),
    "spiking_cnn, all": (SPIKING, 112, {}, "32"),
    "spiking_cnn, all, 28 frames at once": (SPIKING, 112, {"recompute": True, "frames_together": 28}, "32"),
    "spiking_cnn, all, 8 frames at once": (SPIKING, 112, {"recompute": True, "frames_together": 8}, "32"),
    "resnet18, all, bf16": (RESNET, 224, {}, "bf16"),
}


def has_bf16() -> bool:
    """Whether the processor multiplies in bfloat16 by itself."""
    capability = torch.cpu
    return bool(capability._is_avx512_bf16_supported() or capability._is_amx_tile_supported())


def make(name: str, batch: int, frames: int) -> tuple[Config, FrozenPart]:
    """The configuration of a setting, and its backbone."""
    backbone, size, model, precision = SETTINGS[name]
    config = make_config(
        {
            "name": "benchmark",
            "dataset": {"type": "folder", "path": "."},
            "clip": {"frames": frames, "size": size},
            "backbone": backbone,
            "model": {"type": "end_to_end", "batch_norm": "frozen", **model},
            "training": {"batch_size": batch},
            "evaluation": {"batch_size": batch},
            "precision": precision,
        }
    )
    part = cut_backbone(build_backbone(config.backbone, 0), config.model.train_from, size)
    assert isinstance(part, FrozenPart)
    return config, part


def run_one(name: str, batch: int, frames: int, steps: int) -> dict[str, float]:
    """Seconds of a step, peak memory above what the process has before, and its estimate."""
    config, part = make(name, batch, frames)
    assert part.encoder is not None
    frames_bytes = measure_frame(part.encoder), measure_frame(part.encoder, config.precision)
    estimate = estimate_memory(config, part.encoder, *frames_bytes)
    model = build_model(config.model, part.feature_dim, CLASSES, 0, part.encoder).train()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    x = torch.rand(batch, frames, part.feature_dim)
    y = torch.randint(CLASSES, (batch * frames,))
    seconds = []
    with keep_freed_memory(), torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        for _ in range(steps + 1):
            begin = time.perf_counter()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x, keep_state=False)[0].flatten(0, 1).float(), y).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    learned = sum(parameter.numel() for parameter in model.parameters())
    return {
        "seconds": statistics.median(seconds[1:]),
        "peak": peak,
        "step": peak - before,
        "estimate": estimate / 2**30,
        "weights": learned,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=28)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.batch, arguments.frames, arguments.steps
    if arguments.one:
        print(json.dumps(run_one(arguments.one, *sizes)))
        return
    rows = []
    for name, (_, size, _, precision) in SETTINGS.items():
        if precision == "bf16" and not has_bf16():
            continue
        command = [sys.executable, __file__, "--one", name]
        command += ["--batch", str(sizes[0]), "--frames", str(sizes[1]), "--steps", str(sizes[2])]
        found = ask(command)
        if found is None:
            raise SystemExit(f"{name}: the process failed")
        rows.append(
            [
                name,
                f"{size} x {size}",
                f"{found['weights'] / 1e6:.1f} M",
                f"{found['seconds']:.1f}",
                f"{found['peak']:.2f}",
                f"{found['step']:.2f}",
                f"{found['estimate']:.2f}",
            ]
        )
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = [
        "trained",
        "frames",
        "weights that learn",
        "seconds a step",
        "peak GiB",
        "of it the step",
        "estimated GiB",
    ]
    write_section(
        "Training from frames",
        f"Memory and seconds of one training step of an `end_to_end` model: {sizes[0]} clips of {sizes[1]} frames, "
        f"single precision, {torch.get_num_threads()} threads, medians of {sizes[2]} steps. *All*: from the frames on; "
        "*from layer*: on cached activations of what is before. *N frames at once*: with `model.recompute`, which "
        "forgets activations of so many frames and computes them again. *Peak*: of the whole process, *of it the "
        "step*: above what it had when the model was built. *Estimated*: what a run finds out before it begins, "
        "without the temporal model. Batch normalization keeps its statistics. "
        + ("" if has_bf16() else "This processor has no bfloat16, so nothing is measured in it."),
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
