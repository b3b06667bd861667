"""Settings: strict, immutable parts of a configuration, checked with one-line errors that name the key.

Classes take them as keyword arguments, too: ``make_settings`` checks these, ``make_signature`` and ``describe_item``
let ``help`` show them.
"""

import difflib
import inspect
import json
import reprlib
import sys
from collections.abc import Mapping
from inspect import Parameter, Signature
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from snn_action.core.errors import ConfigError


class Settings(BaseModel):
    """A part of the configuration: immutable, strictly typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


class SettingsError(ConfigError):
    """Keys that do not fit, each with its place in the configuration and what would fit."""

    def __init__(self, problems: list[tuple[tuple[str, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{'.'.join(place)}: {text}" if place else text for place, text in problems))


MANY = 20  # names that are not listed where one of them is near


def suggest(name: str, known: list[str]) -> str:
    """A half sentence that names the nearest known name, and the others where a reader needs them and they are few."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near and len(known) > MANY:
        return f"did you mean {near[0]!r}? There are {len(known) - 1} others; 'snn-action schema' lists them"
    return (f"did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(sorted(known))}"


def validate(cls: type[S], value: Mapping[str, Any]) -> S:
    """Check a mapping against a settings class.

    Raises:
        SettingsError: names every key that does not fit, with its place and the nearest valid key.
    """
    try:
        return cls.model_validate_json(json.dumps(value, default=_to_json))
    except ValidationError as error:
        entries = _join_choices(cls, [dict(entry) for entry in error.errors()])
        raise SettingsError([problem for entry in entries for problem in _explain(cls, entry)]) from None


def make_settings(owner: type, cls: type[S], settings: S | None, options: Mapping[str, Any]) -> S:
    """The settings of an object that was given ``settings``, or keyword arguments in their place.

    Raises:
        SettingsError: an argument is unknown or out of range; one line, which names it.
        TypeError: both are given, or settings of another class.
    """
    if settings is None:
        try:
            return validate(cls, options)
        except SettingsError as error:
            raise SettingsError([((owner.__name__, *place), text) for place, text in error.problems]) from None
    if options:
        raise TypeError(f"{owner.__name__}: give settings or {', '.join(options)}, not both")
    if not isinstance(settings, cls):
        raise TypeError(f"{owner.__name__}: settings must be {cls.__name__}, not {type(settings).__name__}")
    return settings


def make_signature(cls: type[Settings], *before: Parameter) -> Signature:
    """What ``help`` shows of an object that takes the keys of ``cls`` as keyword arguments, after ``before``."""
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=field.annotation)
        for name, field in cls.model_fields.items()
        if name not in ("type", *(parameter.name for parameter in before))
    ]
    return Signature([*before, *options])


def _default(field: FieldInfo) -> Any:
    return Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)


def describe_item(item: type, cls: type[Settings], *before: str) -> str:
    """A class's docstring with that of its module, which has the equations, and what each argument means."""
    own = [sys.modules[item.__module__].__doc__, item.__doc__]
    text = "\n\n".join(inspect.cleandoc(part) for part in own if part)
    return "\n".join([text, "", "Args:", *(f"    {line}" for line in before), describe_settings(cls), ""])


def describe_settings(cls: type[Settings]) -> str:
    """Each key of ``cls`` with its description, as in the section ``Args`` of a docstring."""
    return "\n".join(f"    {key}: {field.description}." for key, field in cls.model_fields.items() if key != "type")


def _to_json(value: Any) -> Any:
    """Settings as an object, a number of NumPy or PyTorch as one of Python, anything else as text, such as a path."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.item() if hasattr(value, "item") else str(value)


def _join_choices(cls: type[BaseModel], entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a value that may be of several types, for each of which pydantic has an entry, the one that comes nearest."""
    joined: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        at = _find_choice(cls, entry["loc"])
        if at is None:
            joined[number,] = [entry]
        else:  # without the name of the type
            own = {**entry, "loc": (*entry["loc"][:at], *entry["loc"][at + 1 :])}
            joined.setdefault(tuple(map(str, entry["loc"][:at])), []).append(own)
    return [one for same in joined.values() for one in _find_nearest(same)]


def _find_nearest(same: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What lies deepest; of one place what is of the right type, else all of it in one."""
    deepest = [one for one in same if len(one["loc"]) == max(len(other["loc"]) for other in same)]
    if len({one["loc"] for one in deepest}) > 1:
        return deepest
    right = [one for one in deepest if not one["type"].endswith("_type") and one["type"] != "literal_error"]
    best = right or deepest
    return [{**best[0], "msg": "; or: ".join(map(_say, best)), "ctx": best[0].get("ctx", {}) if len(best) == 1 else {}}]


def _find_choice(cls: type[BaseModel], place: tuple[int | str, ...]) -> int | None:
    """Where in ``place`` pydantic names one of the types of a value; None: the value has one type."""
    for number, part in enumerate(place[:-1]):
        field = cls.model_fields.get(str(part))
        kind: Any = None if field is None else field.annotation
        several = get_origin(kind) in (Union, UnionType)
        kinds = [one for one in get_args(kind) if one is not NoneType] if several else [kind]
        inner = next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if inner is None:
            return number + 1 if len(kinds) > 1 else None
        cls = inner
    return None


def _explain(cls: type[BaseModel], entry: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Each problem of pydantic's ``entry`` with its place; those of a registered item come with it."""
    place = tuple(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        owner = _owner(cls, place[:-1])
        return [(place, f"unknown key; {suggest(place[-1], list(owner.model_fields))}")]
    if entry["type"] == "missing":
        return [(place, "missing; it has no default")]
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, SettingsError):
        return [((*place, *inner), text) for inner, text in cause.problems]
    text = _say(entry) if cause is None else str(cause)  # without pydantic's "Value error, "
    if isinstance(entry["input"], Mapping):  # what does not fit together is named in the text
        return [(place, text)]
    return [(place, f"{text} (got {reprlib.repr(entry['input'])})")]


def _say(entry: dict[str, Any]) -> str:
    """The message of pydantic, with a limit such as 1e-20 in short."""
    words, limits = str(entry["msg"]), list(entry.get("ctx", {}).values())
    for start in ("greater than or equal to ", "greater than ", "less than or equal to ", "less than "):
        place = words.find(start)
        if place >= 0 and len(limits) == 1 and isinstance(limits[0], float) and not 1e-4 <= abs(limits[0]) < 1e9:
            return f"{words[:place]}{start}{limits[0]:g}"
    return words


def _owner(cls: type[BaseModel], place: tuple[str, ...]) -> type[BaseModel]:
    for part in place:
        field = cls.model_fields.get(part)
        candidates = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is None:
            return cls
        cls = inner
    return cls
