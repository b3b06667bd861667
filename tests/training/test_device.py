import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.training import resolve_device


@pytest.fixture
def gpus(monkeypatch):
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("name", "count", "accelerator", "main"),
    [
        ("auto", 0, "cpu", "cpu"),
        ("cpu", 2, "cpu", "cpu"),
        ("auto", 2, "cuda", "cuda:0"),
        ("cuda", 1, "cuda", "cuda:0"),
        ("cuda:1", 2, "cuda", "cuda:1"),
        ("1", 2, "cuda", "cuda:1"),
        ("1,0", 2, "cuda", "cuda:1"),
    ],
)
def test_words_become_devices(gpus, name, count, accelerator, main):
    gpus(count)
    device = resolve_device(name)
    assert device.accelerator == accelerator
    assert device.main == torch.device(main)


@pytest.mark.parametrize(
    ("name", "count", "says"),
    [
        ("cuda", 0, "device: 'cuda'.*no GPU.*'auto' or 'cpu'"),
        ("0", 0, "device: '0'.*no GPU"),
        ("cuda:2", 2, "GPU 2, but there are 2"),
        ("0,3", 2, "GPU 3"),
        ("1,1", 2, "twice"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(gpus, name, count, says):
    gpus(count)
    with pytest.raises(ConfigError, match=says):
        resolve_device(name)


@pytest.fixture
def torchrun(monkeypatch):
    """As if ``torchrun`` had started this process, the second of two on the machine."""
    for name, value in (("RANK", 5), ("WORLD_SIZE", 6), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")


@pytest.mark.usefixtures("torchrun")
@pytest.mark.parametrize(
    ("name", "count", "devices", "main"),
    [
        ("cpu", 2, 2, "cpu"),
        ("auto", 0, 2, "cpu"),
        ("auto", 4, [0, 1], "cuda:1"),
        ("cuda", 2, [0, 1], "cuda:1"),
        ("2,0", 4, [2, 0], "cuda:0"),
    ],
)
def test_each_process_has_a_device_of_its_own(gpus, name, count, devices, main):
    gpus(count)
    device = resolve_device(name)
    assert (device.devices, device.main) == (devices, torch.device(main))


@pytest.mark.usefixtures("torchrun")
@pytest.mark.parametrize(("name", "count", "says"), [("auto", 1, "GPU 1"), ("cuda:1", 4, "1 GPUs for 2 processes")])
def test_processes_and_gpus_must_be_as_many(gpus, name, count, says):
    gpus(count)
    with pytest.raises(ConfigError, match=says):
        resolve_device(name)
