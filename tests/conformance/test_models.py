"""What every registered temporal model must do; a model that is added to the registry is tested here by itself."""

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.core import registry
from snn_action.models import TemporalModel, build_model, find_spikes

FEATURES, CLASSES, BATCH, STEPS = 6, 4, 4, 7
LENGTHS = (7, 2, 5, 6)
LABELS = torch.arange(4)
# A field of any model's settings that has one of these names is made small; the rest stay at their defaults. Nothing
# has to be added here for a new model: variants are further settings worth a test of their own.
SMALL = {
    "units": 8,
    "readout_units": 7,
    "layers": 2,
    "order": 3,
    "theta": 5.0,
    "memory_d": 4,
    "n_ensembles": 6,
    "n_neurons": 5,
    "ensemble_neurons": 6,
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "lmu": [
        {"input_to_hidden": True, "hidden_recurrence": True},
        {"hidden_to_memory": True, "memory_to_memory": True, "hidden_recurrence": True},
        {"memory_to_memory": True},
        {"trained": "matrices", "hidden_to_memory": True},
        {"trained": "theta"},
        {"discretizer": "euler", "trained": "matrices", "normalize": True},
        {"encoders": "on_off", "activation": "relu", "readout": "logistic", "theta": 4.0},
        {"encoders": "on_off", "activation": "relu", "readout": "least_squares", "opposed": True, "units": 6},
        {"differences": 2, "normalize": True, "hidden_recurrence": True},
        {"differences": 1, "input_to_hidden": True},
        {"inputs": ("mean", "difference"), "windows": (4,), "normalize": True, "differences": 1, "scaling": "feature"},
        {"inputs": ("second_difference",), "lags": (1,), "hidden_recurrence": True},
        {"input_threshold": 0.5, "memory_threshold": 0.2, "input_to_hidden": True},
    ],
    "mean_pool": [{"inputs": ("difference", "mean"), "windows": (5, 2)}],
    "stacked_lmu": [
        {"layers": 1, "input_to_hidden": False},
        {"layers": 3, "trained": "theta"},
        {"trained": "matrices", "normalize": True},
    ],
    "lstm": [{"layers": 1}],
    "spiking_lmu": [
        {"gradient": "rate"},
        {"gradient": "spike_aware"},
        {"spiking_input": True},
        {"spiking_memory": True},
        {"encoders": "on_off", "readout": "logistic"},
        {"encoders": "on_off", "readout": "least_squares", "opposed": True, "units": 6},
        {"differences": 2},
        {"input_threshold": 0.5, "spiking_memory": True},
        {"memory_threshold": 0.2, "encoders": "on_off"},
        {"spiking_input": True, "spiking_memory": True, "input_to_hidden": True},
        {"neuron": {"type": "lif", "initial_voltage": "uniform"}, "max_rates": (300.0, 450.0), "trained": "theta"},
    ],
    "spiking_lmu_2020": [
        {"gradient": "spike_aware"},
        {"gradient": "surrogate", "ensemble_neurons": 30},
        {"gradient": "spike_aware", "tau": 0.004},
    ],
    "ensemble_array": [
        {"gradient": "rate"},
        {"gradient": "surrogate"},
        {"tau_input": None},
        {"neuron": {"type": "spiking_rectified_linear", "initial_voltage": "uniform"}},
    ],
    "end_to_end": [
        {"head": (5,), "model": {"type": "lmu", "units": 8, "order": 2, "theta": 4.0, "memory_d": 3}},
        {"head": (7, 5), "model": {"type": "spiking_lmu", "units": 24, "max_rates": (400.0, 800.0), "memory_d": 3}},
    ],
    "late_fusion": [
        {"streams": 3, "weights": (0.5, 0.0, 1.5)},
        {"model": {"type": "lmu", "units": 8, "order": 2, "theta": 4.0, "memory_d": 3, "differences": 1}},
        {"model": {"type": "spiking_lmu", "units": 24, "max_rates": (400.0, 800.0), "memory_d": 3, "order": 2}},
        {"model": {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 5}},
        {"model": {"type": "lmu", "units": 8, "memory_d": 3, "inputs": ["features", "mean"], "windows": [3]}},
    ],
}
COMMON: dict[str, dict[str, Any]] = {  # enough spikes in a few steps
    "spiking_lmu": {"units": 24, "max_rates": (400.0, 800.0)},
    "spiking_lmu_2020": {"ensemble_neurons": 40},
}
LEARNING_RATE = {"spiking_lmu_2020": 2e-4}  # its weights take spikes a second, hundreds at a time
ALL_INPUTS = {"inputs": ("features", "difference", "second_difference", "mean"), "lags": (1, 2), "windows": (2, 3)}
OF_PARTS = {"late_fusion", "end_to_end"}  # models of models, which leave inputs to them
CASES = [
    (name, extra)
    for name, _ in registry.items("model")
    for extra in [{}, *([] if name in OF_PARTS else [ALL_INPUTS]), *VARIANTS.get(name, [])]
]


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *map(str, case[1])]))
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    name, extra = request.param
    fields = registry.find_settings("model", name).model_fields
    return {
        "type": name,
        **{key: value for key, value in SMALL.items() if key in fields},
        **COMMON.get(name, {}),
        **extra,
    }


MADE: dict[tuple[str, torch.dtype], TemporalModel] = {}


def make(settings: dict[str, Any], dtype: torch.dtype = torch.float64) -> TemporalModel:
    """In float64: a spike at the threshold must not hang on the order of a sum. Prepared once, copied for each test."""
    key = (repr(settings), dtype)
    if key not in MADE:
        model = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=3).to(dtype)
        features, mask = clips(dtype=dtype, seed=9)
        model.prepare(features, mask, LABELS)
        if not model.trained_by_gradient:
            model.fit(features, mask, LABELS)
        MADE[key] = model.eval()
    return copy.deepcopy(MADE[key])


def clips(dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(BATCH, STEPS, FEATURES, generator=generator, dtype=torch.float64) + 1
    return features.to(dtype), torch.arange(STEPS) < torch.tensor(LENGTHS).unsqueeze(1)


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif state is not None:
        for part in state:
            yield from tensors(part)


def assert_states_equal(actual: Any, expected: Any) -> None:
    pairs = list(zip(tensors(actual), tensors(expected), strict=True))
    assert pairs
    for a, b in pairs:
        torch.testing.assert_close(a, b)


def row(state: Any, index: int) -> Any:
    return [tensor[index : index + 1] for tensor in tensors(state)]


def test_logits_have_one_row_a_step_and_depend_on_the_input(settings):
    model = make(settings)
    features, mask = clips()
    logits, _ = model(features, mask=mask)
    assert logits.shape == (BATCH, STEPS, CLASSES)
    assert logits.dtype == torch.float64
    assert (logits[0, 1:] - logits[0, :-1]).abs().max() > 1e-4
    assert (logits[0, -1] - logits[2, 4]).abs().max() > 1e-4


def test_stepping_equals_forward(settings):
    model = make(settings)
    features, _ = clips()
    logits, final = model(features)
    state = None
    for t in range(STEPS):
        step, state = model.step(features[:, t], state)
        torch.testing.assert_close(step, logits[:, t])
    assert_states_equal(state, final)


def test_logits_and_spikes_are_the_same_where_no_state_is_kept(settings):
    model = make(settings)
    features, mask = clips()
    (logits, state), (again, left) = model(features, mask=mask), model(features, mask=mask, keep_state=False)
    assert torch.equal(logits, again)
    for a, b in zip(find_spikes(state), find_spikes(left), strict=True):
        assert torch.equal(a, b)


def test_a_clip_may_be_given_in_parts(settings):
    model = make(settings)
    features, _ = clips()
    logits, final = model(features)
    first, state = model(features[:, :3])
    second, state = model(features[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), logits)
    assert_states_equal(state, final)


def test_padding_changes_no_real_step_and_no_gradient(settings):
    model = make(settings)
    features, mask = clips()
    results = []
    for value in (0.0, 1e6, float("nan"), float("inf")):
        padded = torch.where(mask.unsqueeze(-1), features, value).requires_grad_()
        logits, state = model(padded, mask=mask)
        (gradient,) = torch.autograd.grad(logits[mask].square().sum(), padded)
        assert bool(logits.isfinite().all())
        assert not gradient[~mask].any()
        results.append((logits[mask], state, gradient))
    for real, state, gradient in results[1:]:
        torch.testing.assert_close(real, results[0][0], rtol=0, atol=0)
        torch.testing.assert_close(gradient, results[0][2], rtol=0, atol=0)
        assert_states_equal(state, results[0][1])
    for clip, length in enumerate(LENGTHS):
        alone, state = model(features[clip : clip + 1, :length])
        torch.testing.assert_close(logits[clip, :length], alone[0])
        assert_states_equal(row(results[1][1], clip), state)


def test_a_state_goes_on_after_a_padded_clip(settings):
    model = make(settings)
    features, mask = clips()
    _, state = model(features, mask=mask)
    after, _ = model.step(features[:, 0], state)
    for clip, length in enumerate(LENGTHS):
        whole, _ = model(torch.cat([features[clip, :length], features[clip, :1]]).unsqueeze(0))
        torch.testing.assert_close(after[clip], whole[0, -1])


def test_nothing_leaks_between_clips_or_from_later_steps(settings):
    model = make(settings)
    features, mask = clips()
    logits, _ = model(features, mask=mask)
    other = features.clone()
    other[1:] += 10
    other[0, 4:] -= 10
    changed, _ = model(other, mask=mask)
    torch.testing.assert_close(changed[0, :4], logits[0, :4])
    assert (changed[0, 4:] - logits[0, 4:]).abs().max() > 1e-6
    again, _ = model(features, mask=mask)
    torch.testing.assert_close(again, logits, rtol=0, atol=0)


def test_the_order_of_clips_does_not_matter(settings):
    model = make(settings)
    features, mask = clips()
    logits, _ = model(features, mask=mask)
    turned, _ = model(features.flip(0), mask=mask.flip(0))
    torch.testing.assert_close(turned.flip(0), logits)


def test_gradients_reach_every_trainable_parameter(settings):
    model = make(settings).train()
    features, mask = clips()
    features, mask = features.repeat(3, 1, 1), mask.repeat(3, 1)
    logits, _ = model(features, mask=mask)
    if not model.trained_by_gradient:
        assert not list(model.parameters())
        return
    F.cross_entropy(logits[mask], LABELS.repeat(3).unsqueeze(1).expand(-1, STEPS)[mask]).backward()
    assert list(model.parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


def test_a_model_learns(settings):
    model = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=0).double()
    features, mask = clips()
    wanted = LABELS.unsqueeze(1).expand(-1, STEPS)[mask]

    @torch.no_grad()
    def loss() -> float:
        model.train(settings["type"] == "spiking_lmu_2020")  # learns rates: what spikes make of them is its failure
        return float(F.cross_entropy(model(features, mask=mask)[0][mask], wanted))

    model.prepare(features, mask, LABELS)
    before = loss()
    if model.trained_by_gradient:
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE.get(settings["type"], 2e-2))
        for step in range(40):
            if step == 20 and loss() < 0.9 * before:  # most have by now
                break
            optimizer.zero_grad()
            F.cross_entropy(model.train()(features, mask=mask)[0][mask], wanted).backward()
            optimizer.step()
    else:
        model.fit(features, mask, LABELS, validation=(features, mask, LABELS))  # by which it chooses its penalty
    assert loss() < 0.9 * before


def test_state_dict_round_trip(settings):
    model = make(settings)
    features, mask = clips()
    other = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=4).double().eval()
    if model.trained_by_gradient:
        assert any((a != b).any() for a, b in zip(model.parameters(), other.parameters(), strict=True))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(features, mask=mask)[0], model(features, mask=mask)[0], rtol=0, atol=0)


def save_and_load(model: TemporalModel) -> TemporalModel:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: TemporalModel = torch.load(file, weights_only=False)
    return loaded


def test_a_model_can_be_saved_whole_and_copied(settings):
    model = make(settings)
    features, mask = clips()
    wanted, state = model(features, mask=mask)
    for copied in (save_and_load, lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy):
        other = copied(model)
        again, after = other(features, mask=mask)
        assert torch.equal(again, wanted)
        assert_states_equal(after, state)
        if model.trained_by_gradient:
            assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in other.parameters()}


def test_a_second_derivative_in_float32_is_that_in_float64(settings):
    """A penalty on gradients; in float64 nothing is fused. Incoming gradients need none: nothing would be noticed."""
    features, mask = clips(seed=2)
    features, mask = features.repeat(3, 1, 1), mask.repeat(3, 1)
    found, original = [], make(settings)
    for dtype in (torch.float32, torch.float64):
        model = copy.deepcopy(original).to(dtype)
        given = features.to(dtype).requires_grad_()
        logits, _ = model(given, mask=mask)
        (slope,) = torch.autograd.grad(logits[mask].sum(), given, create_graph=True)
        leaves = [given, *model.parameters()]
        if not slope.requires_grad:
            found.append([torch.zeros_like(leaf).double() for leaf in leaves])
            continue
        second = torch.autograd.grad(slope.square().sum(), leaves, allow_unused=True)
        found.append(
            [torch.zeros_like(a).double() if g is None else g.double() for a, g in zip(leaves, second, strict=True)]
        )
    for single, double in zip(*found, strict=True):
        error = (single - double).norm() / double.norm().clamp(min=1e-3)
        assert error < (0.05 if model.n_neurons else 1e-2)  # a spike may fall one step later in float32


def test_same_seed_same_weights_and_the_global_generator_untouched(settings):
    torch.manual_seed(11)
    first = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=5).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(1), drawn)
    second = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=5).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_settings_and_mapping_make_the_same_model(settings):
    parsed = registry.parse("model", settings)
    a = build_model(parsed, in_features=FEATURES, num_classes=CLASSES, seed=1).state_dict()
    b = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=1).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert registry.parse("model", parsed.model_dump(mode="json")) == parsed


def test_one_clip_of_one_step(settings):
    model = make(settings)
    features, _ = clips()
    logits, state = model(features[:1, :1], mask=torch.ones(1, 1, dtype=torch.bool))
    assert logits.shape == (1, 1, CLASSES)
    step, stepped = model.step(features[:1, 0])
    torch.testing.assert_close(step, logits[:, 0])
    assert_states_equal(stepped, state)


def test_float32_is_close_to_float64_or_spikes(settings):
    features, mask = clips()
    single, state = make(settings, torch.float32)(features.float(), mask=mask)
    assert single.dtype == torch.float32
    assert all(tensor.dtype == torch.float32 for tensor in tensors(state))
    model = make(settings)
    if not model.n_neurons:  # a spike on the threshold may fall one step later in float32
        torch.testing.assert_close(single.double(), model(features, mask=mask)[0], rtol=1e-3, atol=1e-4)


def test_a_model_trains_in_mixed_precision(settings):
    model = make(settings, torch.float32)
    features, mask = clips(torch.float32)
    wanted, _ = model(features, mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        logits, state = model(features, mask=mask)
        model.step(features[:, 0], state)
        trained, _ = model.train()(features, mask=mask)
    assert (logits - wanted).norm() < 0.5 * wanted.norm()  # a spike may fall one step later
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
    if model.trained_by_gradient:
        trained[mask].float().square().sum().backward()
        assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_spikes_are_counted_where_there_are_neurons(settings):
    model = make(settings)
    features, mask = clips()
    _, state = model(features, mask=mask)
    counts = find_spikes(state)
    assert len(counts) == len(model.populations)
    assert all(population.neurons > 0 and population.fan_out > 0 for population in model.populations)
    _, longer = model(features, state)
    for count, later in zip(counts, find_spikes(longer), strict=True):
        assert count.shape == (BATCH,)
        torch.testing.assert_close(count, count.round())
        assert bool((later > count).all())


def test_shown_spikes_are_those_that_are_counted(settings):
    model = make(settings)
    features, mask = clips()
    with torch.inference_mode():
        shown = model.show_spikes(torch.where(mask.unsqueeze(-1), features, float("nan")), mask)
        counts = find_spikes(model(features, mask=mask)[1])
    assert (shown is None) == (not model.populations or settings["type"] == "spiking_lmu_2020")  # tanh hidden units
    if shown is not None:
        assert shown.shape == (BATCH, STEPS, model.populations[-1].neurons)
        torch.testing.assert_close(shown, shown.round())
        torch.testing.assert_close(shown.sum((1, 2)), counts[-1])
        assert not shown[~mask].any()


BAD_SHAPES = [
    ((3, 7, 5), None, "6"),
    ((3, 6), None, "features must be"),
    ((3, 0, 6), None, "at least one step"),
    ((2, 3, 6), [[1, 0, 1], [1, 1, 1]], "clip 0 has a hole"),
    ((2, 3, 6), [[1, 1, 1], [0, 0, 0]], "clip 1 has no real first step"),
    ((2, 3, 6), [[1, 1], [1, 1]], "mask must have shape"),
]


def test_bad_shapes_and_masks_with_holes_are_refused(settings):
    model = make(settings)
    for shape, mask, says in BAD_SHAPES:
        with pytest.raises(ValueError, match=says):
            model(torch.zeros(shape, dtype=torch.float64), mask=None if mask is None else torch.tensor(mask).bool())
    with pytest.raises(ValueError, match="features must be"):
        model.step(torch.zeros(2, 5, dtype=torch.float64))


def test_a_state_of_other_clips_or_of_another_model_is_refused(settings):
    model = make(settings)
    features, _ = clips()
    _, one = model(features[:1])
    for run in (lambda state: model(features, state), lambda state: model.step(features[:, 0], state)):
        with pytest.raises(ValueError, match=r"state\.[\w.]+ must have shape"):
            run(one)
        with pytest.raises(ValueError, match="not one that this model returned"):
            run(())


def test_features_of_another_type_are_converted(settings):
    model = make(settings).float()
    features = clips()[0].round()
    with torch.no_grad():
        expected, step = model(features.float())[0], model.step(features[:, 0].float())[0]
        for dtype in (torch.float64, torch.float16, torch.int32):
            assert torch.equal(model(features.to(dtype))[0], expected)
            assert torch.equal(model.step(features[:, 0].to(dtype))[0], step)
