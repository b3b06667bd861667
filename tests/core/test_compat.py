import subprocess
import sys
import types

import pytest

from snn_action.core import compat

FRESH = """
from snn_action.core.compat import {names}
import torch, torchvision
assert {name}.__version__
assert torchvision.models.mobilenet_v2 is not None
"""


# Fabric alone imports neither; those who come after it get the real ones.
FABRIC = """
import sys
assert not {"torchmetrics", "transformers"} & set(sys.modules)
"""
LIGHTNING = """
import torchmetrics
assert torchmetrics.Metric
"""


@pytest.mark.parametrize(
    ("names", "then"),
    [("torchvision", ""), ("lightning_fabric", FABRIC), ("lightning_fabric, pytorch_lightning", LIGHTNING)],
    ids=["torchvision", "lightning_fabric", "pytorch_lightning"],
)
def test_imports_in_a_fresh_process(names, then):
    code = FRESH.format(names=names, name=names.split(", ")[-1]) + then
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_does_nothing_where_torchvision_is_whole(monkeypatch):
    whole = types.ModuleType("torchvision")
    declared = len(compat._declared)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(compat.importlib, "import_module", lambda _: whole)
    assert compat.import_torchvision() is whole
    assert len(compat._declared) == declared


def test_another_failure_is_not_hidden(monkeypatch):
    def fail(_):
        raise RuntimeError("something else")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(compat.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        compat.import_torchvision()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_here"):
        compat.nothing_here  # noqa: B018
