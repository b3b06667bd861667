import pytest
import torch
from torch import nn

from snn_action.backbones import Backbone, infer


def make() -> Backbone:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(network, name="small", feature_dim=4, input_size=8)


def test_inference_needs_no_gradients_and_does_not_change_the_network() -> None:
    backbone = make()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features = infer(backbone, images)
    assert not features.requires_grad
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, backbone(images))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_bf16_is_near_and_returned_in_single_precision() -> None:
    backbone = make()
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    exact, rough = infer(backbone, images), infer(backbone, images, "bf16")
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 8, 8, 3), (1, 2, 3, 8, 8)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be"):
        make()(torch.zeros(shape))
