"""A dataset of your own: all videos in one folder, named <class>-<person>-<number>.avi; each person tests once.

python examples/own_dataset.py FOLDER

From a package of your own: [project.entry-points."snn_action.dataset"] flat = "my_package.own_dataset:FlatSettings"
"""

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field

from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video


class FlatSettings(PathSettings):
    """Videos in one folder; ``path`` names it."""

    type: Literal["flat"] = Field("flat", description="Which dataset this is")
    suffix: str = Field(".avi", description="Ending of the video files")

    def build(self, seed: int = 0) -> Catalog:  # noqa: ARG002 - nothing is drawn
        files = sorted(self.path.glob(f"*{self.suffix}"))
        names = [file.stem.split("-") for file in files]
        classes = sorted({action for action, _, _ in names})
        videos = tuple(
            Video(file.name, label=classes.index(action), group=person, path=file)
            for file, (action, person, _) in zip(files, names, strict=True)
        )
        folds = tuple(
            Fold(
                person,
                train=tuple(i for i, video in enumerate(videos) if video.group != person),
                test=tuple(i for i, video in enumerate(videos) if video.group == person),
            )
            for person in sorted({person for _, person, _ in names})
        )
        return Catalog(tuple(classes), videos, folds)

    @classmethod
    def make_example(cls, folder):  # what the conformance tests read; they do not look into videos
        for name in ("walk-anna-1", "walk-ben-1", "run-anna-1", "run-ben-1"):
            (folder / f"{name}.avi").touch()
        return {"path": folder}


if __name__ == "__main__":
    catalog = FlatSettings(path=Path(sys.argv[1])).build()
    print(f"{len(catalog.videos)} videos of the classes {', '.join(catalog.class_names)}")
    for fold in catalog.folds:
        print(f"fold {fold.name}: {len(fold.train)} videos train, {len(fold.test)} test")
