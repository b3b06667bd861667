"""Names of populations, and what else is checked before work begins."""

import pytest
import torch

from snn_action.backbones import build_backbone
from snn_action.backbones.cut import cut_backbone
from snn_action.config import ClipSettings, make_config
from snn_action.core.errors import ConfigError
from snn_action.core.settings import SettingsError
from snn_action.models import build_model
from snn_action.training import check_spike_target, check_training
from snn_action.training.objective import Objective

SPIKING = {"type": "spiking_lmu", "units": 6, "order": 2, "memory_d": 3, "ensemble_neurons": 5}
BOTH = {**SPIKING, "spiking_input": True, "spiking_memory": True}
LATE = {"type": "late_fusion", "streams": 2, "model": SPIKING}
ARRAY = {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 5}


def ask(model, targets, **training):
    raw = {"name": "x", "dataset": {"type": "features", "path": "x"}, "model": model, "device": "cpu"}
    return make_config({**raw, "training": {**training, "loss": {"spikes": 1.0, "spike_target": targets}}})


@pytest.mark.parametrize(
    ("model", "features", "targets"),
    [
        (SPIKING, 4, {"hidden": 0.1}),
        (BOTH, 4, {"input": 0.1, "memory": 0.0, "hidden": 0.2}),
        (LATE, 4, {"stream 1: hidden": 0.1, "stream 2: hidden": 0.2}),
        (ARRAY, 4, {"ensembles": 0.1}),
        ({"type": "spiking_lmu_2020", "units": 4, "order": 2, "theta": 4.0}, 4, None),
        ({"type": "end_to_end", "train_from": "head", "head": [4], "model": BOTH}, 4, {"input": 1, "hidden": 0.2}),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) and "type" in value else "",
)
def test_the_names_are_those_of_the_models_populations(model, features, targets):
    names = [population.name for population in build_model(model, features, 3, seed=0).populations]
    targets = targets or dict.fromkeys(names, 0.1)
    assert targets.keys() <= set(names)
    check_training(ask(model, targets))
    with pytest.raises(
        ConfigError, match=r"training\.loss\.spike_target: the model has no population 'other'"
    ) as caught:
        check_training(ask(model, {**targets, "other": 0.1}))
    assert all(repr(name) in str(caught.value) for name in names)


def test_names_of_an_encoder_are_known_with_it():
    backbone = build_backbone({"name": "spiking_cnn", "size": 16, "channels": [4], "pool": 2}, seed=0)
    encoder = cut_backbone(backbone, "all", 16).encoder
    name = encoder.populations[0].name
    config = ask({"type": "end_to_end", "model": SPIKING}, {name: 0.1, "hidden": 0.2})
    check_training(config)  # not known yet
    check_spike_target(config, encoder)
    with pytest.raises(ConfigError, match=f"no population {name!r}; its populations: 'hidden'"):
        check_spike_target(config)
    two = ask({"type": "end_to_end", "model": LATE}, {f"stream 2: {name}": 0.1, "stream 2: hidden": 0.2})
    check_spike_target(two.model_copy(update={"clip": ClipSettings(streams=("rgb", "difference"))}), encoder)


def test_a_model_that_does_not_spike_has_no_populations():
    check_training(ask({"type": "lmu"}, 0.1))
    with pytest.raises(ConfigError, match="no population 'hidden'; it does not spike"):
        check_training(ask({"type": "lmu"}, {"hidden": 0.1}))


@pytest.mark.parametrize("targets", [-0.1, {}, {"hidden": -0.1}, {"hidden": "much"}, ["hidden"]])
def test_targets_are_rates(targets):
    with pytest.raises(SettingsError, match=r"training\.loss\.spike_target"):
        ask(SPIKING, targets)


def test_the_loss_has_the_penalty_of_the_named_population_alone():
    features, mask = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), torch.ones(3, 5).bool()
    model = build_model(BOTH, 4, 3, seed=0).eval()
    with torch.no_grad():
        _, state = model(features)
        plain, costly = (
            Objective(model, ask(BOTH, targets).training)(features, mask, torch.arange(3))[0]
            for targets in ({"hidden": 1e9}, {"hidden": 0.01})
        )
    rates = state.hidden.spikes / (6 * 5)
    torch.testing.assert_close(costly - plain, (rates / 0.01 - 1).relu().square().mean(), rtol=1e-4, atol=1e-4)
    assert rates.max() > 0.01
