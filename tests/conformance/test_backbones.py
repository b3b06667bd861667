"""What every backbone must do: the registered ones, one of images and one of videos of torchvision, and videos' of
Hugging Face; with random weights.
"""

import copy
import io
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.backbones import Backbone, BackboneSettings, build_backbone, infer
from snn_action.backbones.weights import digest_weights
from snn_action.config import Config
from snn_action.core import registry
from snn_action.core.compat import import_torchvision
from snn_action.core.settings import describe_settings
from snn_action.features.extraction.embed import extract_frames, find_windows, prepare
from snn_action.video.array import read_array
from snn_action.video.settings import ClipSettings
from snn_action.video.transforms import normalize

OF_EXTRAS = ("timm", "transformers")
OF_VIDEOS = ("facebook/vjepa2-vitl-fpc64-256", "MCG-NJU/videomae-base")
GIVEN = [
    *({"name": name} for name, _ in registry.items("backbone")),
    *({"name": name} for name in ("squeezenet1_1", "r3d_18")),
    *({"name": "transformers", "model": model} for model in OF_VIDEOS),
]
SMALLER = {"r3d_18": 32, "res_cnn_encoder": 64}  # sides of images that cost less than those of the network's weights


@pytest.fixture(scope="module", params=GIVEN, ids=lambda given: given.get("model", given["name"]))
def settings(request: pytest.FixtureRequest) -> BackboneSettings:
    if request.param["name"] in OF_EXTRAS:
        import_torchvision()  # made importable before they import it
        pytest.importorskip(request.param["name"], reason=f"the extra {request.param['name']} is not installed")
    parsed: BackboneSettings = registry.parse("backbone", {**request.param, "weights": "random"})
    return parsed


@pytest.fixture(scope="module")
def backbone(settings: BackboneSettings) -> Backbone:
    built = build_backbone(settings, seed=1)
    built.input_size = SMALLER.get(built.name, built.input_size)
    return built


@pytest.fixture(scope="module")
def images(backbone: Backbone) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    window = (backbone.window,) if backbone.window > 1 else ()
    return torch.randn(2, *window, 3, backbone.input_size, backbone.input_size, generator=generator)


@pytest.fixture(scope="module")
def features(backbone: Backbone, images: Tensor) -> Tensor:
    return infer(backbone, images)


def test_images_become_vectors(backbone: Backbone, features: Tensor) -> None:
    assert features.shape == (2, backbone.feature_dim)
    assert features.dtype == torch.float32
    assert bool(features.isfinite().all())
    assert not torch.equal(features[0], features[1])


def test_it_is_frozen_in_evaluation_mode_and_computes_the_same_again(
    backbone: Backbone, images: Tensor, features: Tensor
) -> None:
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = digest_weights(backbone.network)
    assert torch.equal(infer(backbone, images), features)
    assert digest_weights(backbone.network) == before == backbone.digest


def test_features_of_an_image_do_not_depend_on_the_batch(backbone: Backbone, images: Tensor, features: Tensor) -> None:
    alone = torch.cat([infer(backbone, image.unsqueeze(0)) for image in images])
    for other in (alone, infer(backbone, images.flip(0)).flip(0)):
        assert (other - features).norm() <= 1e-5 * features.norm()


def test_a_video_goes_through_it(settings: BackboneSettings, backbone: Backbone) -> None:
    """Prepared as before an extraction: a network of videos has weights of another rank than one of images."""
    clip = ClipSettings(frames=3, size=backbone.input_size)
    config = Config.model_construct(seed=0, clip=clip, backbone=settings)
    video = np.random.default_rng(0).integers(0, 256, (3, clip.size, clip.size, 3), dtype=np.uint8)
    prepared = copy.deepcopy(backbone)
    prepare(prepared, config, "cpu")
    features, mask, _ = extract_frames(read_array(video), "video", config, prepared, "cpu")
    assert bool(mask.all())
    frames = normalize(torch.from_numpy(video).permute(0, 3, 1, 2), backbone.mean, backbone.std)
    windows, _ = find_windows([np.arange(3)], backbone.window)
    wanted = infer(backbone, frames[windows[:, 0] if backbone.window == 1 else windows])
    assert (features[0] - wanted).norm() <= 1e-5 * wanted.norm()
    assert prepared.fingerprint == backbone.fingerprint
    assert digest_weights(prepared.network) == backbone.digest


def test_a_seed_decides_the_weights_and_leaves_the_global_generator(
    settings: BackboneSettings, backbone: Backbone, images: Tensor, features: Tensor
) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    again = build_backbone(settings, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.digest == backbone.digest
    assert torch.equal(infer(again, images), features)


def test_what_is_known_about_it(settings: BackboneSettings, backbone: Backbone) -> None:
    assert backbone.name == settings.name
    assert len(backbone.mean) == len(backbone.std) == 3
    assert min(backbone.std) > 0
    assert backbone.input_size >= 16
    assert set(backbone.options) == set(type(settings).model_fields) - set(BackboneSettings.model_fields)
    json.dumps([backbone.provenance, backbone.options])


def test_it_can_be_copied_and_saved_whole(backbone: Backbone, images: Tensor, features: Tensor) -> None:
    file = io.BytesIO()
    torch.save(backbone, file)
    file.seek(0)
    for other in (copy.deepcopy(backbone), torch.load(file, weights_only=False)):
        assert torch.equal(infer(other, images), features)
        assert (other.name, other.digest, other.options) == (backbone.name, backbone.digest, backbone.options)


def test_images_of_another_shape_are_an_error(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=r"(images|windows) must be \(N, .*3, height, width\)"):
        backbone(torch.zeros(1, 1, backbone.input_size, backbone.input_size))


def test_settings_come_back_from_json_and_every_key_is_described(settings: BackboneSettings) -> None:
    assert registry.parse("backbone", json.loads(settings.model_dump_json())) == settings
    assert "None." not in describe_settings(type(settings))
