"""Train on videos of your own, one folder for each class, then recognize a new video from its file and from its frames.

python examples/own_videos.py [--videos FOLDER]

Without a folder, small synthetic videos are made: a figure that bows, does jumping jacks or walks.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import snn_action
from snn_action.datasets.synthetic.generate import Plan, generate
from snn_action.video.decode import count_frames, read_frames

CLASSES = ("Bow", "JumpingJack", "Walk")


def make_videos(folder: Path) -> Path:
    """Videos ``<class>/v_<class>_g<person>_c01.avi`` of six persons."""
    generate(folder / "all", Plan(groups=6, clips=1, frames=16, size=64), workers=1)
    for name in CLASSES:
        shutil.copytree(folder / "all" / name, folder / "videos" / name)
    return folder / "videos"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=Path)
    place = Path(tempfile.mkdtemp())
    videos = parser.parse_args().videos or make_videos(place)
    config = snn_action.make_config(
        {
            "name": "own_videos",
            "save_dir": place / "save",
            "device": "cpu",
            "dataset": {"type": "folder", "path": videos, "group_pattern": r"_(g\d+)", "test_share": 0.3},
            "clip": {"frames": 8, "sampling": "uniform", "streams": ["rgb", "difference"]},
            "backbone": {"name": "tiny"},  # for real videos: mobilenet_v2
            "features": {"store": place / "store", "workers": 0},
            "model": {"type": "lmu", "units": 64, "order": 4, "theta": 8.0, "memory_d": 32},
            "training": {"epochs": 15, "batch_size": 8, "learning_rate": 0.005, "validation_share": 0},
        }
    )
    run = snn_action.run(config)
    print(run.summary)

    recognizer = snn_action.load_run(run.folder)
    video = next(videos.rglob("*.avi"))
    print(recognizer.predict(video).to_text(count=3))
    frames = read_frames(video, range(count_frames(video)))  # (T, H, W, 3) uint8, from wherever they come
    print(recognizer.predict(frames).to_text(count=3))
