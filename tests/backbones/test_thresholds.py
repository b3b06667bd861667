import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snn_action.backbones import Backbone, build_backbone
from snn_action.backbones.sigma_delta import SigmaDeltaNetwork
from snn_action.backbones.thresholds import Thresholds, choose_thresholds, count_steps, read_thresholds
from snn_action.core.errors import ConfigError, WorkError
from snn_action.evaluation.energy.count import count_network
from snn_action.evaluation.energy.layers import total


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return build_backbone({"name": "tiny"})


@pytest.fixture(scope="module")
def clips() -> list[Tensor]:
    """Squares that move over noise."""
    found = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(3, 64, 64, generator=generator) + 0.02 * torch.randn(8, 3, 64, 64, generator=generator)
        for t, image in enumerate(images):
            image[:, 20:40, 2 + 4 * t : 22 + 4 * t] += 1
        found.append(images)
    return found


def find_error(backbone: Backbone, clips: list[Tensor], thresholds: dict[str, float]) -> float:
    coded = SigmaDeltaNetwork(backbone.network, thresholds)
    with torch.inference_mode():
        plain, features = (torch.cat([f(clip) for clip in clips]) for f in (backbone.network, lambda c: coded(c)[0]))
    return float((features - plain).norm() / (plain - plain.mean(0)).norm())


def test_the_error_is_the_one_that_was_asked_for(tiny: Backbone, clips: list[Tensor]) -> None:
    ticks: list[int] = []
    found = choose_thresholds(tiny, clips, 0.2, ["a", "b"], lambda: ticks.append(1))
    assert 0.15 < found.error <= 0.2
    assert find_error(tiny, clips, dict(found.thresholds)) == pytest.approx(found.error, rel=1e-3)
    assert len(ticks) == count_steps(tiny)
    assert (found.backbone, found.digest, found.calibrated_on) == ("tiny", tiny.digest, ("a", "b"))


def test_it_costs_less_than_one_share_of_the_deviation_for_all(tiny: Backbone, clips: list[Tensor]) -> None:
    """At equal error, thresholds by what each value costs and matters save more than equal ones do."""
    found = choose_thresholds(tiny, clips, 0.2, [])
    spreads, _ = SigmaDeltaNetwork(tiny.network).measure(clips[0])
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        error = find_error(tiny, clips, {name: middle * spread for name, spread in spreads.items()})
        low, high = (low, middle) if error > found.error else (middle, high)
    equal = {name: low * spread for name, spread in spreads.items()}
    costs = [
        total(count_network(SigmaDeltaNetwork(tiny.network, thresholds), *clips), "effective_macs")
        for thresholds in (dict(found.thresholds), equal)
    ]
    assert costs[0] < costs[1]


def test_the_file_is_read_as_it_was_written(tiny: Backbone, tmp_path: Path) -> None:
    names = SigmaDeltaNetwork(tiny.network).names
    made = Thresholds("tiny", tiny.digest, 0.1, ("film_a",), dict.fromkeys(names, 0.25))
    made.write(tmp_path / "t.json")
    assert read_thresholds(tmp_path / "t.json") == made
    coded = build_backbone({"name": "tiny", "coding": "sigma_delta", "thresholds": str(tmp_path / "t.json")})
    assert coded.coded is not None
    assert coded.coded.thresholds == made.thresholds
    assert coded.provenance["calibrated_on"] == ["film_a"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"digest": "f" * 64}, "made for other weights"),
        ({"version": 9}, "no file of thresholds.*version 9"),
        ({"thresholds": {"images": -1}}, "'images' is -1"),
        ({"thresholds": {"images": True}}, "'images' is True"),
        ({"thresholds": {"images": "1"}}, "'images' is '1'"),
        ({"thresholds": [1]}, "numbers by name"),
        ({"thresholds": {"nowhere": 1.0}}, r"t\.json: backbone\.coding: .*sends no value 'nowhere'"),
        ({"calibrated_on": 3}, "no file of thresholds"),
        ({"calibrated_on": "film_a"}, "a list of texts"),
        ({"calibrated_on": {"film_a": 1}}, "a list of texts"),
        ({"calibrated_on": [["film_a"]]}, "a list of texts"),
        ({"digest": ["f"]}, "a list of texts"),
        ({"error": "nan"}, "error is 'nan'"),
        ({"version": True}, "no file of thresholds.*version True"),
        (
            {"thresholds": {"images": 1e308}},
            r"t\.json: no file.*'images' is 1e\+308, not 0 or a number from 1e-20 to 1e",
        ),
        ({"thresholds": {"images": 1e-300}}, "'images' is 1e-300, not 0 or a number from 1e-20 to 1e"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tiny: Backbone, tmp_path: Path, change: dict[str, object], text: str
) -> None:
    made = Thresholds("tiny", tiny.digest, 0.1, (), {"images": 0.5})
    made.write(tmp_path / "t.json")
    raw = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps({**raw, **change}))
    with pytest.raises(ConfigError, match=text):
        build_backbone({"name": "tiny", "coding": "sigma_delta", "thresholds": str(tmp_path / "t.json")})


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backbone\.thresholds.*No such file"):
        read_thresholds(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match="no file of thresholds"):
        read_thresholds(tmp_path / "broken.json")


@pytest.mark.parametrize("error", [0.0, -1.0, float("nan")])
def test_an_error_that_is_none_is_refused(tiny: Backbone, clips: list[Tensor], error: float) -> None:
    with pytest.raises(ConfigError, match="--max-error"):
        choose_thresholds(tiny, clips, error, [])


def test_videos_in_which_nothing_changes_are_refused(tiny: Backbone, clips: list[Tensor]) -> None:
    for still in (clips[0][:1], clips[0][:1].expand(3, -1, -1, -1).contiguous()):
        with pytest.raises(ConfigError, match=r"--max-error 0\.1: no thresholds keep it"):
            choose_thresholds(tiny, [still], 0.1, [])


def test_an_error_that_no_thresholds_keep_is_refused(tiny: Backbone, clips: list[Tensor]) -> None:
    with pytest.raises(ConfigError, match="no thresholds keep it"):
        choose_thresholds(tiny, clips[:1], 1e-9, [])


def test_weights_that_are_not_whole_are_said_on_one_line(clips: list[Tensor]) -> None:
    broken = build_backbone({"name": "tiny"})
    with torch.no_grad():
        next(iter(broken.network.parameters())).fill_(float("nan"))
    with pytest.raises(WorkError, match=r"relu: the value .* is nan .*backbone\.weights") as caught:
        SigmaDeltaNetwork(broken.network)(clips[0][:2])
    assert "\n" not in str(caught.value)
