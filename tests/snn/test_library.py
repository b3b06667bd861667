"""What PyTorch's tools do with each part of the library: copies, files, precision, threads, compilers, export."""

import ast
import copy
import inspect
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from snn_action import snn
from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.snn.neurons.base import COMMON

BATCH, STEPS, SIZE = 3, 6, 4
SMALL_MODEL = {"units": 6, "readout_units": 5, "layers": 2, "order": 3, "theta": 5.0, "memory_d": 4}
SMALL_ARRAY = {"n_ensembles": 5, "n_neurons": 6, "ensemble_neurons": 6}


def make_model(name: str) -> nn.Module:
    fields = registry.find_settings("model", name).model_fields
    options = {key: value for key, value in (SMALL_MODEL | SMALL_ARRAY).items() if key in fields}
    return build_model({"type": name, **options}, SIZE, 3, seed=0)


PARTS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: snn.build_neuron(name) for name, _ in registry.items("neuron")},
    "lowpass": lambda: snn.Lowpass(0.01),
    "lowpass_learnable": lambda: snn.Lowpass(0.01, learnable=True),
    "alpha": lambda: snn.Alpha(0.01),
    "linear_filter": lambda: snn.LinearFilter([1.0], [1e-4, 0.02, 1.0]),
    "memory": lambda: snn.LegendreMemory(order=4, theta=6.0),
    "memory_theta": lambda: snn.LegendreMemory(order=4, theta=6.0, trained="theta"),
    "array": lambda: snn.EnsembleArray(SIZE, 5, seed=0),
    "array_lif": lambda: snn.EnsembleArray(SIZE, 5, neuron=snn.LIF(), seed=0),
    "sequential": lambda: snn.Sequential(nn.Linear(SIZE, 5), snn.LIF(gradient="surrogate"), nn.Linear(5, 2)),
    **{name: lambda name=name: make_model(name) for name, _ in registry.items("model")},
}


@pytest.fixture(params=PARTS)
def part(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return PARTS[request.param]().eval()


def drive(part: nn.Module, batch: int = BATCH, steps: int = STEPS) -> Tensor:
    """Values with which some neurons fire: currents are large for some, below the threshold for others."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(batch, steps, SIZE, generator=generator)
    return 400 * values.abs() if isinstance(part, snn.Neuron) else values


def assert_same(found: Any, wanted: Any) -> None:
    """The same structure of the same tensors."""
    (ours, layout), (theirs, other) = tree_flatten(found), tree_flatten(wanted)
    assert layout == other
    for a, b in zip(ours, theirs, strict=True):
        assert a is b or torch.equal(a, b)


def save_and_load(part: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(part, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part)), save_and_load],
    ids=["copy", "pickle", "file"],
)
def test_a_copy_computes_the_same(part: nn.Module, copied: Callable[[nn.Module], nn.Module]) -> None:
    x = drive(part)
    with torch.no_grad():
        wanted = part(x)  # and what is kept from a first use is copied, or left out
        assert_same(copied(part)(x), wanted)


def test_a_state_dict_makes_another_one_the_same(part: nn.Module, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(1)
    other = PARTS[request.node.callspec.params["part"]]().eval()
    other.load_state_dict(part.state_dict())
    x = drive(part)
    with torch.no_grad():
        assert_same(other(x), part(x))


def test_mixed_precision_runs_and_is_close(part: nn.Module) -> None:
    x = drive(part)
    with torch.no_grad():
        wanted, _ = part(x)
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = part(x)
    assert bool(found.isfinite().all())
    assert (found.float() - wanted).norm() <= 0.5 * wanted.norm() + 1e-6  # a spike may fall one step later


def test_data_parallel_wraps_it(part: nn.Module) -> None:
    """Without a GPU it hands everything to the one module."""
    x = drive(part)
    with torch.no_grad():
        assert_same(nn.DataParallel(part)(x), part(x))


def start(part: nn.Module, x: Tensor) -> Any:
    """A state to step from: that after the first steps."""
    with torch.no_grad():
        _, state = part(x[:, :-1])
    return state


@pytest.fixture
def cold_compiler() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("cold_compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_is_the_step(part: nn.Module) -> None:
    x = drive(part)
    state = start(part, x)
    whole = not any(isinstance(module, nn.LSTM) for module in part.modules())  # PyTorch compiles around it
    step = torch.compile(part.step, backend="eager", fullgraph=whole)
    with torch.no_grad():
        found, wanted = step(x[:, -1], state), part.step(x[:, -1], state)
    assert tree_flatten(found)[1] == tree_flatten(wanted)[1]
    torch.testing.assert_close(tree_leaves(found), tree_leaves(wanted), rtol=1e-4, atol=1e-5)


class Step(nn.Module):
    """One step whose state is a flat list of tensors, as exported programs have it."""

    def __init__(self, part: nn.Module, layout: Any) -> None:
        super().__init__()
        self.part, self.layout = part, layout

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple(tree_leaves(self.part.step(x, tree_unflatten(state, self.layout))))


@pytest.mark.filterwarnings("ignore")
def test_an_exported_step_is_the_step(part: nn.Module) -> None:
    x = drive(part)
    leaves, layout = tree_flatten(start(part, x))
    step = Step(part, layout)
    with torch.no_grad():
        program = torch.export.export(step, (x[:, -1], *leaves), strict=False)
        for found, wanted in zip(program.module()(x[:, -1], *leaves), step(x[:, -1], *leaves), strict=True):
            torch.testing.assert_close(found, wanted)


def find_class(kind: registry.Kind, name: str) -> type[Any]:
    found: type[Any] = registry.find_settings(kind, name).load()
    return found


CLASSES = [find_class(kind, name) for kind in ("neuron", "model") for name in registry.REGISTRY[kind]]
SIZES = {"in_features": 4, "num_classes": 3}


def make_instance(cls: type[Any], **options: Any) -> Any:
    return cls(**options) if issubclass(cls, snn.Neuron) else cls(**SIZES, **options)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_signature_has_the_keys_of_the_settings_and_their_defaults(cls: type[Any]) -> None:
    parameters = dict(inspect.signature(cls).parameters)
    if issubclass(cls, snn.Neuron):
        assert [parameters.pop(each.name) for each in COMMON] == list(COMMON)
    else:
        assert [parameters.pop(name).kind for name in SIZES] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
    keys = {key: field for key, field in cls.Settings.model_fields.items() if key != "type"}
    assert list(parameters) == list(keys)
    settings = cls.Settings()
    for key, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default == getattr(settings, key)
    assert all(f"{key}:" in cls.__doc__ for key in [*keys, *([] if issubclass(cls, snn.Neuron) else SIZES)])


def read_declaration(cls: type[Any]) -> ast.arguments | None:
    """Of ``__init__`` under ``if TYPE_CHECKING``, which is what editors and mypy see; None: any arguments."""
    source = inspect.getsource(sys.modules[cls.__module__])
    (found,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    guarded = [node for node in found.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    if not guarded:
        return None
    (function,) = guarded[0].body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == "__init__"
    return function.args


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_what_editors_see_is_the_signature(cls: type[Any]) -> None:
    declared = read_declaration(cls)
    if declared is None:
        pytest.skip(f"{cls.__name__} declares no arguments for editors")
    own = [name for name in inspect.signature(cls).parameters if name not in SIZES]
    place = len(own) - (len(COMMON) if issubclass(cls, snn.Neuron) else 0)
    assert [each.arg for each in declared.kwonlyargs] == [*own[:place], "settings", *own[place:]]
    assert [each.arg for each in declared.args] == ["self", *([] if issubclass(cls, snn.Neuron) else SIZES)]
    for each, default in zip(declared.kwonlyargs, declared.kw_defaults, strict=True):
        assert default is not None
        value = ast.literal_eval(default)
        wanted = None if each.arg == "settings" else inspect.signature(cls).parameters[each.arg].default
        assert value == (... if isinstance(wanted, registry.Settings) else wanted), each.arg


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_wrong_argument_is_an_error_of_one_line_that_names_it(cls: type[Any]) -> None:
    wrong: list[dict[str, Any]] = [{"nonsense": 1}]
    numbers = [key for key, field in cls.Settings.model_fields.items() if field.annotation in (int, float)]
    wrong += [{key: value} for key in numbers for value in ("many", float("nan"))]
    for options in wrong:
        ((name, _),) = options.items()
        with pytest.raises(ConfigError, match=name) as caught:
            make_instance(cls, **options)
        assert str(caught.value).startswith(f"{cls.__name__}.{name}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_settings_or_arguments_but_not_both(cls: type[Any]) -> None:
    assert make_instance(cls, settings=cls.Settings()).settings == make_instance(cls).settings == cls.Settings()
    key = next(key for key in cls.Settings.model_fields if key != "type") if len(cls.Settings.model_fields) > 1 else "x"
    with pytest.raises(TypeError, match=f"{cls.__name__}: give settings or {key}, not both"):
        make_instance(cls, settings=cls.Settings(), **{key: 1})
    with pytest.raises(TypeError, match=f"{cls.__name__}: settings must be {cls.Settings.__name__}, not int"):
        make_instance(cls, settings=3)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: snn.Lowpass(tau=-1.0), "tau"),
        (lambda: snn.Alpha(0.01, dt=0.0), "dt"),
        (lambda: snn.LinearFilter([1.0], []), "den"),
        (lambda: snn.LegendreMemory(order=0, theta=4.0), "order"),
        (lambda: snn.LegendreMemory(order=4, theta=-1.0), "theta"),
        (lambda: snn.LegendreMemory(order=4, theta=4.0, discretizer="foh"), "discretizer"),
        (lambda: snn.LegendreMemory(order=4, theta=4.0, trained="all"), "trained"),
        (lambda: snn.EnsembleArray(0), "sizes"),
        (lambda: snn.EnsembleArray(3, function="cube"), "function"),
        (lambda: snn.EnsembleArray(3, max_rates=(1e6, 2e6), neuron=snn.LIF()), "max_rates"),
        (lambda: snn.EnsembleArray(3, intercepts=(-1.0, 2.0)), "intercepts"),
        (lambda: snn.LIF(unit="volts"), "unit"),
        (lambda: snn.RectifiedLinear(gradient="surrogate"), "gradient"),
        (lambda: snn.build_neuron("lief"), "lief"),
    ],
)
def test_other_wrong_arguments_are_errors_of_one_line_that_name_them(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        make()
    assert "\n" not in str(caught.value)
