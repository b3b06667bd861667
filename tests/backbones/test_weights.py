import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from snn_action.backbones import build_backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.weights import digest_weights, load_weights, read_provenance, read_weights
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError

NAME = "shufflenet_v2_x0_5"


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found: nn.Module = torchvision.models.get_model(NAME, weights=None)
    return found


def build(path: Path):
    return build_backbone(BackboneSettings(name=NAME, weights=str(path)), seed=0)


def save(state: dict[str, torch.Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


def without(state: dict[str, torch.Tensor], *ends: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(ends)}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_file_s_weights_are_the_network_s(tmp_path: Path, suffix: str) -> None:
    state = network().state_dict()
    backbone = build(save(state, tmp_path / f"weights{suffix}"))
    own = backbone.network.state_dict()
    assert own.keys() == without(state, "fc.weight", "fc.bias").keys()
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_what_is_not_used_may_be_missing_or_different(tmp_path: Path) -> None:
    state = network().state_dict()
    whole = build(save(state, tmp_path / "whole.pth"))
    other_classes = {**state, "fc.weight": torch.zeros(101, 1024), "fc.bias": torch.zeros(101)}
    variants = {
        "headless": without(state, "fc.weight", "fc.bias"),
        "uncounted": without(state, "num_batches_tracked"),
        "other_classes": other_classes,
        "parallel": {f"module.{key}": value for key, value in state.items()},
    }
    for name, variant in variants.items():
        assert build(save(variant, tmp_path / f"{name}.pth")).digest == whole.digest, name


def test_files_of_old_pytorch_are_read(tmp_path: Path) -> None:
    state = network().state_dict()
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert all(torch.equal(value, state[key]) for key, value in read_weights(path).items())


def test_densenet_s_published_names_are_today_s(tmp_path: Path) -> None:
    path = save(
        {"features.denseblock1.denselayer1.norm.1.weight": torch.ones(1), "norm.1.x": torch.ones(1)}, tmp_path / "d.pth"
    )
    assert list(read_weights(path)) == ["features.denseblock1.denselayer1.norm1.weight", "norm.1.x"]


def test_half_precision_weights_become_single(tmp_path: Path) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in network().state_dict().items()}
    backbone = build(save(state, tmp_path / "half.safetensors"))
    assert {value.dtype for value in backbone.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "conv1.0.weight"), r"1 keys missing \(conv1\.0\.weight\)"),
        (lambda s: s | {"extra.weight": torch.ones(2)}, r"1 foreign keys \(extra\.weight\)"),
        (lambda s: s | {"conv1.0.weight": torch.ones(2, 2)}, r"conv1\.0\.weight \(2, 2\) instead of \(24, 3, 3, 3\)"),
        (lambda s: {f"net.{k}": v for k, v in s.items()}, r"keys missing \(.*, \.\.\.\); \d+ foreign keys"),
        (lambda s: without(s, "running_mean"), r"56 keys missing"),
    ],
)
def test_other_missing_and_foreign_keys_are_errors(tmp_path: Path, change, message: str) -> None:
    path = save(change(network().state_dict()), tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=f"weights.pth.*{message}.*another architecture"):
        build(path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.safetensors")
    with pytest.raises(ConfigError, match=r"squeezenet.safetensors.*another architecture"):
        build(path)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the file was run')",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 50, b"PK\x03\x04 no archive", pickle.dumps(Malicious())])
def test_an_unreadable_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"broken{suffix}"):
        build(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors"):
        path = save(network().state_dict(), tmp_path / f"cut{suffix}")
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(ConfigError, match=f"cut{suffix}"):
            build(path)


def test_a_file_with_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.ones(1), "evil": Malicious()}, path)
    with pytest.raises(ConfigError, match=r"model.pth"):
        build(path)


@pytest.mark.parametrize("content", [{}, [1], 3, {"state_dict": {"a": torch.ones(1)}}, {1: torch.ones(1)}])
def test_something_else_than_a_state_dict_is_named(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=r"other.pth: .*state dict"):
        build(path)


@pytest.mark.parametrize("name", ["defualt", "weights.npz", ""])
def test_neither_a_word_nor_a_weights_file(name: str) -> None:
    with pytest.raises(ConfigError, match=r"'default', 'random' nor a file ending in \.pth, \.pt, \.safetensors"):
        build_backbone(BackboneSettings(name=NAME, weights=name))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.pth: no such file"):
        build(tmp_path / "nothing.pth")


def test_the_digest_sees_every_value_name_type_and_shape() -> None:
    def digest(**tensors: torch.Tensor) -> str:
        module = nn.Module()
        for name, value in tensors.items():
            module.register_buffer(name, value)
        return digest_weights(module)

    value = torch.arange(6, dtype=torch.float32)
    digests = [
        digest(a=value),
        digest(a=value + 1e-6 * (value == 3)),
        digest(b=value),
        digest(a=value.reshape(2, 3)),
        digest(a=value.view(torch.int32)),
        digest(a=value, b=torch.tensor(1)),
        digest(a=value.bfloat16()),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(a=value, num_batches_tracked=torch.tensor(7)) == digests[0]
    assert digest(b=torch.tensor(1), a=value) == digests[5]  # whatever the order
    strided = torch.stack([value, value], 1)[:, 0]
    assert digest(a=strided) == digests[0]


def test_load_weights_passes_over_only_what_is_named_unused() -> None:
    linear = nn.Linear(1, 1)
    state = {"weight": torch.ones(1, 1), "bias": torch.zeros(1), "head.weight": torch.ones(1)}
    load_weights(linear, state, "here", unused=("head.",))
    assert linear.weight.item() == 1
    with pytest.raises(ConfigError, match=r"here.*foreign"):
        load_weights(linear, state, "here")


def test_provenance_stands_beside_the_weights(tmp_path: Path) -> None:
    path = save(network().state_dict(), tmp_path / "weights.pth")
    assert build(path).provenance == {}
    (tmp_path / "weights.json").write_text(json.dumps({"trained_on": "UCF101", "videos": ["v_A_g01_c01.avi"]}))
    assert build(path).provenance["videos"] == ["v_A_g01_c01.avi"]
    for broken in ("[]", "{", ""):
        (tmp_path / "weights.json").write_text(broken)
        with pytest.raises(ConfigError, match=r"weights\.json"):
            read_provenance(path)
