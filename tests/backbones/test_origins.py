import pytest

from snn_action.backbones.origins import SOURCES, describe_overlap, find_origin


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("resnet18.a1_in1k", "ImageNet-1k"),
        ("convnext_tiny.in12k_ft_in1k", "ImageNet-21k and ImageNet-1k"),
        ("vit_small_patch14_dinov2.lvd142m", "LVD-142M"),
        ("vit_base_patch16_siglip_224.webli", "WebLI"),
        ("vit_base_patch16_clip_224.openai", "WIT-400M of OpenAI"),
        ("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", "LAION and ImageNet-21k and ImageNet-1k"),
        ("vit_base_patch16_224.mae", "ImageNet-1k"),
        ("tf_efficientnet_b0.ns_jft_in1k", "JFT-300M and ImageNet-1k"),
        ("resnet18.fb_swsl_ig1b_ft_in1k", "Instagram and ImageNet-1k"),
        ("openai/clip-vit-base-patch16", "WIT-400M of OpenAI"),
        ("google/siglip-base-patch16-224", "WebLI"),
        ("facebook/dinov2-small", "LVD-142M"),
        ("MCG-NJU/videomae-base", "Kinetics-400"),
        ("MCG-NJU/videomae-base-finetuned-kinetics", "Kinetics-400"),
        ("MCG-NJU/videomae-base-ssv2", "Something-Something v2"),
        ("facebook/vjepa2-vitl-fpc64-256", "VideoMix22M"),
        ("facebook/vjepa2-vitl-fpc16-256-ssv2", "VideoMix22M and Something-Something v2"),
        ("somebody/network", "unknown"),
        ("resnet18", "unknown"),
    ],
)
def test_a_name_says_what_weights_were_trained_on(name, origin):
    assert find_origin(name) == origin
    known = origin != "unknown"
    assert ("unknown" in describe_overlap(origin)) != known


def test_what_could_overlap_is_said_of_every_set():
    both = describe_overlap("Kinetics-400 and Something-Something v2")
    assert "YouTube, as do those of UCF101" in both
    assert "filmed for it" in both
    assert describe_overlap("nothing").startswith("nothing was learned")
    assert all(text in describe_overlap(source) for source, text in SOURCES.items())
