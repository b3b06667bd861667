"""Synthetic videos of an articulated figure: twelve actions, generated on first use, read back in UCF101's layout.

A group is one person in one place who does all twelve actions, so whole persons are held out for tests and for
validation. The two actions of three pairs show the same frames in another order (``datasets/synthetic/motions.py``).
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from snn_action.datasets.catalog import Catalog, PathSettings
from snn_action.datasets.ucf101 import read_ucf_catalog

NOTES = (
    "Synthetic videos: accuracy here says that the software works, nothing about real videos.",
    "StandUp is SitDown backwards, WaveRightToLeft is WaveLeftToRight backwards, Run is Walk three times as fast, each "
    "a loop entered anywhere: both of a pair show the same frames, the same one first, in another order.",
)


class SyntheticSettings(PathSettings):
    """Synthetic videos, made on first use."""

    type: Literal["synthetic"] = Field("synthetic", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.synthetic.dataset:build"
    path: Path = Field(Path("data/synthetic"), description="Folder where the videos are made")
    split: Literal[1, 2, 3, "all"] = Field(1, description="Which groups test, or 'all' for one fold each")
    groups: int = Field(25, ge=4, le=99, description="Persons, each with a place and a camera")
    clips_per_group: int = Field(2, ge=1, le=99, description="Clips of each person and action")
    frames: int = Field(32, ge=8, le=1000, description="Frames of a clip, 16 a second")
    size: int = Field(112, ge=32, le=1024, multiple_of=16, description="Side of a frame")
    seed: int = Field(0, ge=0, lt=2**32, description="Of the videos; the run's own seed does not change them")


def build(settings: SyntheticSettings, seed: int) -> Catalog:  # noqa: ARG001 - the videos have a seed of their own
    """Generate what is missing of the set and read its lists.

    Raises:
        ConfigError: the folder holds another set, or something else.
        WorkError: the set cannot be written.
    """
    from snn_action.datasets.synthetic.generate import LISTS, Plan, generate
    from snn_action.datasets.synthetic.motions import PAIRS

    plan = Plan(settings.seed, settings.groups, settings.clips_per_group, frames=settings.frames, size=settings.size)
    generate(settings.path, plan)
    catalog = read_ucf_catalog(settings.path, settings.path / LISTS, settings.split)
    persons = (replace(video, group=video.name.rsplit("_", 2)[1]) for video in catalog.videos)
    return replace(catalog, videos=tuple(persons), pairs=PAIRS, notes=NOTES)
