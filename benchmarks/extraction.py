"""Frames per second of feature extraction, end to end, against the bare backbone and a plain loop.

    python benchmarks/extraction.py VIDEOS --weights mobilenet_v2.safetensors

VIDEOS is a folder that holds videos at any depth. Three things are timed, in turns, several times over:

bare         the backbone on one batch that is already decoded, resized, normalized and in memory, again and again
end to end   ``extract_features`` into an empty store: digests, decoding beside the network, shards written
plain loop   each video decoded with PyAV, transformed by torchvision and put through the network, one after another
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import av
import torch

from snn_action.backbones import Backbone, build_backbone, infer
from snn_action.backbones.settings import BackboneSettings
from snn_action.config import Config, FeatureSettings
from snn_action.core.compat import torchvision
from snn_action.core.malloc import keep_freed_memory
from snn_action.datasets.catalog import Catalog, DatasetSettings, Fold, Video
from snn_action.features.extraction.embed import prepare
from snn_action.features.extraction.extract import extract_features
from snn_action.video.clips import read_video
from snn_action.video.settings import ClipSettings
from snn_action.video.transforms import normalize


def make_config(arguments: argparse.Namespace, store: Path) -> Config:
    return Config.model_construct(
        seed=0,
        dataset=DatasetSettings(path=arguments.videos, max_bad_share=0.0),
        clip=ClipSettings(frames=arguments.frames),
        backbone=BackboneSettings(name=arguments.backbone, weights=arguments.weights, batch_size=arguments.batch_size),
        features=FeatureSettings(store=store, workers=arguments.workers),
    )


def run_bare(paths: list[Path], config: Config, backbone: Backbone, device: str) -> float:
    """Frames per second on the first video's batch, for as many batches as there are videos."""
    clips = read_video(paths[0], config.clip, backbone.input_size, 0, "")
    frames = clips.streams["rgb"][: config.backbone.batch_size].to(device)
    batch = normalize(frames, backbone.mean, backbone.std).contiguous(memory_format=torch.channels_last)
    with keep_freed_memory():  # as the extraction does
        infer(backbone, batch)
        begin = time.perf_counter()
        for _ in paths:
            infer(backbone, batch).cpu()
        return len(paths) * len(batch) / (time.perf_counter() - begin)


def run_end_to_end(paths: list[Path], config: Config, backbone: Backbone, device: str) -> float:
    videos = tuple(Video(str(path), index % 2, path=path) for index, path in enumerate(paths))
    everything = tuple(range(len(paths)))
    catalog = Catalog(("even", "odd"), videos, (Fold("all", everything, everything),))
    with tempfile.TemporaryDirectory() as store:
        config = config.model_copy(update={"features": config.features.model_copy(update={"store": Path(store)})})
        extraction = extract_features(catalog, config, backbone, device, progress=False)
    return extraction.frames / extraction.seconds


def run_plain_loop(paths: list[Path], config: Config, backbone: Backbone, device: str) -> float:
    transform = torchvision.transforms.Compose(
        [
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Resize((backbone.input_size, backbone.input_size), antialias=True),
            torchvision.transforms.Normalize(backbone.mean, backbone.std),
        ]
    )
    network = backbone.network.to(memory_format=torch.contiguous_format)
    begin = time.perf_counter()
    total = 0
    for path in paths:
        images = []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                images.append(transform(frame.to_image()))
                if len(images) == config.clip.frames:
                    break
        with torch.no_grad():
            for batch in torch.stack(images).split(config.backbone.batch_size):
                network(batch.to(device)).cpu()
        total += len(images)
    speed = total / (time.perf_counter() - begin)
    prepare(backbone, config, device)
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder with videos at any depth")
    parser.add_argument("--weights", default="default", help="weights of the backbone (default: downloaded)")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--suffix", default=".avi")
    parser.add_argument("--limit", type=int, default=90, help="videos at most")
    parser.add_argument("--frames", type=int, default=28, help="frames of a video")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    paths = sorted(arguments.videos.rglob(f"*{arguments.suffix}"))
    random.Random(0).shuffle(paths)
    paths = paths[: arguments.limit]
    if len(paths) < 2:
        parser.error(f"{arguments.videos} holds fewer than two videos ending in {arguments.suffix}")
    config = make_config(arguments, Path())
    backbone = build_backbone(config.backbone)
    prepare(backbone, config, arguments.device)

    ways = {"bare": run_bare, "end to end": run_end_to_end, "plain loop": run_plain_loop}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(arguments.repetitions + 1):  # the first one warms up
        for name, way in ways.items():
            speed = way(paths, config, backbone, arguments.device)
            if repetition:
                speeds[name].append(speed)
    print(
        f"{arguments.backbone} on {arguments.device}, {torch.get_num_threads()} threads, {len(paths)} videos of at "
        f"most {arguments.frames} frames, medians of {arguments.repetitions}"
    )
    print(f"{'':12}{'frames/s':>10}{'of bare':>10}{'lowest':>10}{'highest':>10}")
    bare = statistics.median(speeds["bare"])
    for name, found in speeds.items():
        middle = statistics.median(found)
        print(f"{name:12}{middle:10.1f}{middle / bare:10.1%}{min(found):10.1f}{max(found):10.1f}")


if __name__ == "__main__":
    main()
