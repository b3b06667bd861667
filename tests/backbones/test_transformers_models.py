import json
from pathlib import Path

import pytest
import torch

from snn_action.backbones import build_backbone, infer
from snn_action.backbones.transformers_models import FAMILIES, SMALL, Family
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError, WorkError

assert torchvision  # made importable before transformers, which imports it
transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
hub = pytest.importorskip("huggingface_hub", reason="the extra transformers is not installed")
MODELS = {
    "openai/clip-vit-base-patch16": "clip",
    "google/siglip-base-patch16-224": "siglip",
    "facebook/dinov2-small": "dinov2",
    "facebook/dinov2-with-registers-small": "dinov2_with_registers",
    "google/vit-base-patch16-224": "vit",
    "MCG-NJU/videomae-base": "videomae",
    "facebook/vjepa2-vitl-fpc64-256": "vjepa2",
}
PROCESSOR = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "resample": 3, "do_center_crop": True}


def build(model: str, weights: object = "random", seed: int = 0):
    return build_backbone({"name": "transformers", "model": model, "weights": str(weights)}, seed)


def make_images(backbone) -> torch.Tensor:
    window = (backbone.window,) if backbone.window > 1 else ()
    shape = (2, *window, 3, backbone.input_size, backbone.input_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def make_model(family: Family, seed: int = 7) -> torch.nn.Module:
    config = getattr(transformers, f"{family.classes}Config")(**SMALL, **family.small)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, f"{family.classes}Model")(config, **family.options).eval()


def publish(family: Family, folder: Path) -> torch.nn.Module:
    """A folder as of the hub."""
    model = make_model(family)
    model.save_pretrained(folder)
    side = family.small[family.size]
    asked = {**PROCESSOR, "crop_size": {"height": side, "width": side}, "size": {"shortest_edge": 2 * side}}
    (folder / "preprocessor_config.json").write_text(json.dumps(asked))
    return model


@pytest.mark.parametrize("model", MODELS)
def test_random_weights_are_those_of_a_small_network_of_the_family(model):
    backbone, family = build(model), FAMILIES[MODELS[model]]
    assert backbone.window == (4 if family.frames else 1)
    assert infer(backbone, make_images(backbone)).shape == (2, SMALL["hidden_size"]) == (2, backbone.feature_dim)
    assert backbone.provenance == {"trained_on": "nothing", "seed": 0}
    assert build(model).digest == backbone.digest != build(model, seed=1).digest
    assert type(backbone.network.model).__name__.startswith(family.classes)


@pytest.mark.parametrize("model", MODELS)
def test_published_weights_are_loaded_with_their_images_and_origin(model, tmp_path, monkeypatch):
    family = FAMILIES[MODELS[model]]
    published = publish(family, tmp_path)
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **kept: asked.append((name, kept)) or str(tmp_path))
    backbone = build(model, "default")
    ((name, kept),) = asked
    assert name == model
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in kept["allow_patterns"])
    assert (backbone.mean, backbone.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    assert backbone.input_size == family.small[family.size]
    assert "bicubic" in backbone.provenance["images"]
    assert backbone.provenance["trained_on"] != "unknown"
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    images = make_images(backbone)
    with torch.no_grad():
        part = published.encoder if family.part else published
        output = part(images)
        tokens = output.last_hidden_state
        wanted = {"first": tokens[:, 0], "mean": tokens.mean(1)}
        expected = output.pooler_output if family.pool == "pooled" else wanted[family.pool]
    torch.testing.assert_close(infer(backbone, images), expected, rtol=1e-4, atol=1e-5)


def test_the_vision_part_of_a_whole_clip_is_found(tmp_path):
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config={**SMALL, "image_size": 64, "patch_size": 16})
    whole = transformers.CLIPModel(config).eval()
    publish(FAMILIES["clip"], tmp_path)
    whole.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "clip"
    backbone = build("openai/clip-vit-base-patch16", tmp_path)
    images = make_images(backbone)
    with torch.no_grad():
        torch.testing.assert_close(infer(backbone, images), whole.vision_model(images).pooler_output)
    assert "trained_on" not in backbone.provenance


def test_a_configuration_that_names_code_runs_none(tmp_path):
    publish(FAMILIES["vit"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    config["attn_implementation"] = config["_attn_implementation"] = "somebody/kernel"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    backbone = build("google/vit-base-patch16-224", tmp_path)
    assert infer(backbone, make_images(backbone)).shape == (2, 32)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_not_loaded(tmp_path):
    publish(FAMILIES["vit"], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(make_model(FAMILIES["vit"]).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="no safetensors file there"):
        build("google/vit-base-patch16-224", tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "cannot be loaded"),
        (lambda f: (f / "config.json").unlink(), r"config\.json"),
        (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "of no family that is known here: clip"),
        (lambda f: (f / "preprocessor_config.json").unlink(), r"preprocessor_config\.json"),
        (lambda f: (f / "preprocessor_config.json").write_text("{}"), "needs image_mean, image_std and size"),
    ],
)
def test_damaged_folders_are_named(damage, says, tmp_path):
    publish(FAMILIES["vit"], tmp_path)
    damage(tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path}.*{says}" if "family" not in says else says):
        build("google/vit-base-patch16-224", tmp_path)


def test_missing_weights_are_an_error(tmp_path):
    import safetensors.torch

    publish(FAMILIES["vit"], tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    safetensors.torch.save_file(
        {k: v for k, v in state.items() if "layernorm.bias" not in k}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ConfigError, match=r"1 keys missing \(layernorm\.bias\)"):
        build("google/vit-base-patch16-224", tmp_path)


def test_an_unknown_family_and_a_missing_network_name_the_way_out(monkeypatch):
    with pytest.raises(ConfigError, match="somebody/network: of no family that is known here: clip"):
        build("somebody/network")

    def fail(*_, **__):
        raise hub.errors.LocalEntryNotFoundError("Name or service not known")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(WorkError, match=r"hf download facebook/dinov2-small .*'\*\.safetensors'.*backbone\.weights"):
        build("facebook/dinov2-small", "default")
