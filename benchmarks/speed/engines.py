"""How fast a backbone's network runs in PyTorch, folded or compiled PyTorch, and ONNX Runtime, on one thread and all.

    python benchmarks/speed/engines.py --weights WEIGHTS

WEIGHTS is a folder with files such as `mobilenet_v2.safetensors`; a network without a file there gets random weights.
The ways take turns, so that what slows the machine for a while slows all of them.

torch        PyTorch, channels last: `backbone.engine` "torch"
folded       the same with batch normalization folded into convolutions (`torch.fx`)
compiled     `torch.compile` of that network with its weights frozen; it needs a C++ compiler
onnx         ONNX Runtime: `backbone.engine` "onnx"
"""

import argparse
import copy
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.fx.experimental.optimization import fuse

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import make_table, write_section
from benchmarks.lib.timing import turns_of
from snn_action.backbones import Backbone, build_backbone, infer
from snn_action.core.malloc import keep_freed_memory

BACKBONES = ("mobilenet_v2", "squeezenet1_1", "resnet18")
TEXT = (
    "Images per second through the network alone, batches of 32 images of 224 x 224, medians; in brackets the share of "
    "the fastest. Difference: the largest one of features from those of PyTorch, in units of the largest feature where "
    "that is above 1."
)


def make_ways(backbone: Backbone, images: Tensor, has_compiler: bool) -> dict[str, Callable[[], Tensor]]:
    """Each way to get features of ``images``."""
    backbone.to(memory_format=torch.channels_last)
    folded = copy.deepcopy(backbone)
    folded.network = fuse(folded.network).to(memory_format=torch.channels_last)
    ways = {"torch": lambda: infer(backbone, images), "folded": lambda: infer(folded, images)}
    if has_compiler:
        from torch._inductor import config

        config.freezing = True
        torch.compiler.reset()
        compiled = copy.deepcopy(backbone)
        compiled.network = torch.compile(compiled.network)
        ways["compiled"] = lambda: run_compiled(compiled, images)
    other = copy.deepcopy(backbone)
    other.use_engine("onnx", backbone.input_size)
    ways["onnx"] = lambda: infer(other, images)
    return ways


@torch.no_grad()  # weights are frozen here, not in inference mode
def run_compiled(backbone: Backbone, images: Tensor) -> Tensor:
    return backbone(images.contiguous(memory_format=torch.channels_last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path(), help="folder of weights by name")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--no-compiler", action="store_true", help="leave out torch.compile")
    arguments = parser.parse_args()

    images = torch.randn(32, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)  # as `normalize` leaves them
    most = torch.get_num_threads()
    rows = []
    for threads in dict.fromkeys((1, most)):
        torch.set_num_threads(threads)
        for name in BACKBONES:
            path = arguments.weights / f"{name}.safetensors"
            backbone = build_backbone({"name": name, "weights": str(path) if path.is_file() else "random"})
            ways = make_ways(backbone, images, not arguments.no_compiler)
            with keep_freed_memory():  # as the extraction does
                seconds = turns_of(ways, arguments.turns)
            wanted = ways["torch"]()
            unit = wanted.abs().max().clamp(min=1)
            speeds = {way: len(images) / statistics.median(each) for way, each in seconds.items()}
            best = max(speeds.values())
            for way, speed in speeds.items():
                difference = float((ways[way]() - wanted).abs().max() / unit)
                share = f"{speed:.0f} ({speed / best:.0%})"
                rows.append([f"`{name}`", str(threads), way, share, f"{difference:.0e}" if difference else "0"])
                print(*rows[-1], file=sys.stderr, flush=True)
    header = ["network", "threads", "engine", "images/s (of the fastest)", "difference"]
    write_section("Engines of a backbone's network", TEXT, make_table(header, rows))


if __name__ == "__main__":
    main()
