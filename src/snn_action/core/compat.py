"""Makes torchvision, and the libraries that import it, importable beside a CPU build of PyTorch.

A torchvision that was built for CUDA cannot load its compiled operators beside a CPU PyTorch and fails at
import with ``operator torchvision::nms does not exist``. Only the operators' schemas are missing, and nothing
here uses the operators, so declaring the schemas fixes the import. Where torchvision is whole, nothing is done.

Import these libraries from here: ``from snn_action.core.compat import lightning_fabric, torchvision``.
"""

import importlib
import importlib.util
import sys
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning_fabric as lightning_fabric
    import pytorch_lightning as pytorch_lightning
    import torchvision as torchvision

_NEEDS_TORCHVISION = ("torchvision", "lightning_fabric", "pytorch_lightning")
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []  # what declares operators takes them with it when it is collected


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators that it misses; return the module.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails to import for another reason.
    """
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    from torch import library

    operators = library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        operators.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(operators)
    return importlib.import_module("torchvision")


def __getattr__(name: str) -> ModuleType:
    if name not in _NEEDS_TORCHVISION:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_torchvision()
    return _import_fabric() if name == "lightning_fabric" else importlib.import_module(name)


def _import_fabric() -> ModuleType:
    """Fabric imports torchmetrics to read its version; that imports transformers where it is installed: for seconds."""
    spec = importlib.util.find_spec("torchmetrics") if "torchmetrics" not in sys.modules else None
    if spec is None:
        return importlib.import_module("lightning_fabric")
    stand_in = importlib.util.module_from_spec(spec)
    vars(stand_in)["__version__"] = version("torchmetrics")
    sys.modules["torchmetrics"] = stand_in
    try:
        return importlib.import_module("lightning_fabric")
    finally:
        del sys.modules["torchmetrics"]
