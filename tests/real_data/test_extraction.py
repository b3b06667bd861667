import shutil
from pathlib import Path

import torch

from snn_action.backbones import build_backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.config import Config, FeatureSettings
from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video
from snn_action.features.extraction.extract import extract_features
from snn_action.video.settings import ClipSettings

CLIPS = ("run/daria_run", "run/denis_run", "bend/daria_bend", "bend/denis_bend")


def test_weizmann_clips_are_extracted_once_and_found_under_another_path(shared: Path, tmp_path: Path) -> None:
    def make_catalog(folder: Path) -> Catalog:
        videos = tuple(Video(name, index // 2, path=folder / f"{name}.avi") for index, name in enumerate(CLIPS))
        return Catalog(("run", "bend"), videos, (Fold("1", (0, 2), (1, 3)),))

    config = Config.model_construct(
        seed=0,
        dataset=PathSettings(type="test", path=tmp_path),
        clip=ClipSettings(frames=6, sampling="uniform", streams=("rgb", "difference")),
        backbone=BackboneSettings(name="squeezenet1_1", weights=str(shared / "weights" / "squeezenet1_1.safetensors")),
        features=FeatureSettings(store=tmp_path / "store"),
    )
    backbone = build_backbone(config.backbone)
    original = shared / "data" / "weizmann"
    first = extract_features(make_catalog(original), config, backbone, "cpu", progress=False)
    assert (first.bad, first.frames, first.n_extracted) == ({}, 4 * 6 * 2, 4)
    for name in CLIPS:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original / f"{name}.avi", tmp_path / "copy" / f"{name}.avi")
    second = extract_features(make_catalog(tmp_path / "copy"), config, backbone, "cpu", progress=False)
    assert (second.frames, second.n_reused) == (0, 4)
    features, mask = second.features.read(range(4))
    assert torch.equal(features, first.features.read(range(4))[0])
    assert features.shape == (4, 6, 1024)
    assert mask.all()
    assert features.isfinite().all()
    assert not torch.equal(features[..., :512], features[..., 512:])
