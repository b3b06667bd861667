"""An extension of Griffe, which reads the source for the pages of the API: shows the arguments of neurons and models.

Their docstrings and signatures are made of their settings when they are defined. The source alone does not have them.
"""

import importlib
import inspect
from typing import Any

import griffe


class Arguments(griffe.Extension):
    """Classes with settings have the docstring that ``help`` shows, and the signature where the source has another."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """What Griffe calls for each class."""
        if "Settings" not in cls.members or not cls.docstring:
            return
        found = getattr(importlib.import_module(cls.module.path), cls.name)
        cls.docstring.value = inspect.getdoc(found) or ""
        shown = inspect.signature(found).parameters.values()
        if any(parameter.name not in cls.parameters for parameter in shown):
            own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
            cls.all_members["__init__"].parameters = griffe.Parameters(own, *map(read_parameter, shown))


def read_parameter(parameter: inspect.Parameter) -> griffe.Parameter:
    """The same, as Griffe has it."""
    default = parameter.default
    return griffe.Parameter(
        parameter.name,
        annotation=inspect.formatannotation(parameter.annotation),
        kind=griffe.ParameterKind[parameter.kind.name.lower()],
        default=None if default is inspect.Parameter.empty else repr(default),
    )
