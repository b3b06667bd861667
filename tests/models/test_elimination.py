import pytest
import torch

from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.models import LMU, SpikingLMU
from snn_action.models.elimination import eliminate
from snn_action.models.settings import LMUSettings
from snn_action.runs import pipeline

TOLD = (3, 8, 11)  # inputs that tell the classes apart


def make_clips(inputs: int = 16, clips: int = 60, steps: int = 6):
    """Each class moves an input of its own; the others are noise."""
    torch.manual_seed(0)
    labels = torch.arange(clips) % len(TOLD)
    features = torch.randn(clips, steps, inputs)
    features[torch.arange(clips), :, torch.tensor(TOLD)[labels]] += 2.0
    return features, torch.ones(clips, steps, dtype=torch.bool), labels


@pytest.mark.parametrize("readout", ["random", "logistic", "least_squares"])
def test_inputs_that_tell_classes_apart_stay(readout):
    features, _, labels = make_clips()
    values = features.double().mean(1, keepdim=True).mT  # one value an input
    kept = eliminate(values, labels, len(TOLD), len(TOLD), LMUSettings(readout=readout))
    assert kept.tolist() == [*TOLD]


def test_an_input_that_another_stands_in_for_goes_first():
    features, _, labels = make_clips()
    features[..., 5] = features[..., 3]  # a copy: both have half of the weight
    values = features.double().mean(1, keepdim=True).mT
    kept = eliminate(values, labels, len(TOLD), len(TOLD), LMUSettings(readout="least_squares"))
    assert {8, 11} < {*kept.tolist()}
    assert len({3, 5} & {*kept.tolist()}) == 1


def test_all_inputs_stay_where_all_are_asked_for():
    features, _, labels = make_clips(inputs=12)
    values = features.double().mean(1, keepdim=True).mT
    assert eliminate(values, labels, 12, len(TOLD), LMUSettings()).tolist() == [*range(12)]


@pytest.mark.parametrize(("kind", "options"), [(LMU, {"activation": "relu"}), (SpikingLMU, {})])
@pytest.mark.parametrize("method", ["logistic", "least_squares"])
def test_a_model_remembers_what_it_selected_and_is_the_model_of_these_inputs(kind, options, method):
    features, mask, labels = make_clips()
    common = {"units": 12, "order": 2, "memory_d": 3, "theta": 6.0, "normalize": False, "scaling": "feature"}
    common |= {"readout": method, **options}
    torch.manual_seed(1)
    model = kind(16, 3, encoders="selected", **common).eval()
    model.prepare(features, mask, labels)
    assert model.encoder.weight.count_nonzero(1).tolist() == [1, 1, 1]
    assert model.encoder.weight.argmax(1).tolist() == [*TOLD]
    torch.manual_seed(1)
    alone = kind(3, 3, encoders="on_off", **common).eval()
    alone.memory_kernel.load_state_dict(model.memory_kernel.state_dict())  # rates are drawn after other numbers
    alone.prepare(features[..., TOLD], mask, labels)
    with torch.no_grad():
        torch.testing.assert_close(model(features)[0], alone(features[..., TOLD])[0], rtol=1e-4, atol=1e-5)
    assert (model(features)[0].mean(1).argmax(1) == labels).float().mean() > 0.9


def test_padding_plays_no_part():
    features, mask, labels = make_clips()
    model = LMU(16, 3, units=12, order=2, memory_d=3, theta=6.0, encoders="selected")
    model.prepare(features, mask, labels)
    padded = torch.cat([features, torch.randn(60, 4, 16) * 50], 1)
    other = LMU(16, 3, units=12, order=2, memory_d=3, theta=6.0, encoders="selected")
    other.prepare(padded, torch.cat([mask, torch.zeros(60, 4, dtype=torch.bool)], 1), labels)
    assert torch.equal(model.encoder.weight, other.encoder.weight)


def test_no_more_inputs_are_selected_than_there_are():
    with pytest.raises(ConfigError, match=r"memory_d: 17 values cannot be selected of 16 \(encoders 'selected'\)"):
        LMU(16, 3, memory_d=17, encoders="selected")


def test_a_run_says_so_before_it_trains(features_file, write_config):
    model = {"type": "spiking_lmu", "memory_d": 512, "encoders": "selected"}
    config = load_config(write_config({"type": "features", "path": str(features_file)}, model=model))
    with pytest.raises(ConfigError, match="memory_d: 512 values cannot be selected of"):
        pipeline.run(config)


def test_a_run_with_selected_inputs_is_evaluated_as_it_was_tested(features_file, write_config):
    model = {"type": "spiking_lmu", "units": 16, "order": 2, "memory_d": 4, "encoders": "selected"}
    model |= {"readout": "least_squares", "opposed": True}
    training = {"epochs": 0, "validation_share": 0}
    config = load_config(write_config({"type": "features", "path": str(features_file)}, model=model, training=training))
    run = pipeline.run(config)
    assert pipeline.evaluate(run.folder).metrics["accuracy"] == run.metrics["accuracy"]
