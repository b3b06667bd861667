"""What ``import snn_action`` offers by name."""

import subprocess
import sys

import pytest

import snn_action
from snn_action import snn
from snn_action.core.compat import torchvision


@pytest.mark.parametrize("package", [snn_action, snn])
def test_every_public_name_is_there_and_listed(package):
    assert sorted(package.__all__) == sorted(package._HOMES)
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.__getattr__("nothing")


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys\nimport snn_action, snn_action.snn\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'av', 'matplotlib', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lists_are_filtered_by_a_pattern():
    assert snn_action.list_models("*lmu") == ["lmu", "spiking_lmu", "stacked_lmu"]
    assert {"lif", "plif", "adaptive_lif"} <= set(snn_action.list_neurons("*lif"))
    assert "izhikevich" not in snn_action.list_neurons("*lif")
    assert snn_action.list_datasets("ucf*") == ["ucf101"]
    assert {"folder", "csv", "features"} <= set(snn_action.list_datasets())
    assert snn_action.list_models("nothing") == []


def test_backbones_are_ours_and_those_of_torchvision():
    names = snn_action.list_backbones()
    assert "tiny" in names
    assert set(torchvision.models.list_models(module=torchvision.models)) < set(names)
    assert names == sorted(set(names))
    assert snn_action.list_backbones("resnet18") == ["resnet18"]


def test_items_are_built_by_name():
    assert isinstance(snn_action.build_neuron("lif"), snn.LIF)
    assert snn_action.build_neuron({"type": "lif", "tau_rc": 0.01}).settings.tau_rc == 0.01
    assert snn_action.build_backbone("tiny").name == "tiny"
    assert snn_action.build_model({"type": "lmu", "units": 4}, in_features=3, num_classes=2, seed=0).num_classes == 2
