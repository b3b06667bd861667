"""What a training from frames will need of memory, found out before work begins.

Tensors that the encoder keeps for gradients are measured on one frame and on two, in the arithmetic of the training;
the difference is that of a frame. Tests compute in single precision.

    training    weights, gradients and two moments of Adam;  frames of a batch, twice;
                F frames' activations: those of a batch, or with ``model.recompute`` of ``model.frames_together``,
                and their gradients, of which not all are there at once (``BACKWARD``)
    tests       frames of ``evaluation.batch_size`` clips, twice;  activations of ``model.frames_together`` frames

    spikes      an encoder that spikes: compiled kernels (``KERNELS``), and with ``model.recompute`` the state of the
                neurons before each part of a clip

The temporal model behind it is not counted.
"""

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.errors import ConfigError
from snn_action.features.extraction.summary import show_bytes
from snn_action.models.encoder import Encoder
from snn_action.models.end_to_end_settings import EndToEndSettings
from snn_action.training.device import resolve_device

NUMBER = 4  # bytes
BACKWARD = 1.7  # of activations: with gradients and copies for convolutions (benchmarks/speed/end_to_end.py)
KERNELS = 0.3 * 2**30  # bytes that compiling and holding them takes (the same benchmark)
SLACK = 0.2 * 2**30  # bytes by which a step may need more than the estimate (the same benchmark)
_CGROUP = Path("/sys/fs/cgroup")


def measure_frame(encoder: Encoder, precision: str = "32") -> int:
    """Bytes that ``encoder`` keeps of one frame for gradients, in the arithmetic of a configuration's ``precision``."""
    network = copy.deepcopy(encoder).requires_grad_().train()
    network.recompute = False
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()  # statistics of one frame may not exist
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept = []
    for frames in (1, 2):
        found: dict[int, int] = {}
        held: list[Tensor] = []  # so that no address is used twice

        def keep(tensor: Tensor, found: dict[int, int] = found, held: list[Tensor] = held) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
                held.append(tensor)
            return tensor

        x = torch.zeros(1, frames, torch.Size(encoder.shape).numel())
        with (
            torch.enable_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=precision != "32"),  # float16 takes as much
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            network(x, network.initial_state(1, x.device, x.dtype), None)
        kept.append(sum(found.values()))
    return int(kept[1] - kept[0])


def measure_state(encoder: Encoder) -> int:
    """Bytes that ``encoder`` carries from one frame of a clip to the next."""

    def add(state: Any) -> int:
        return state.nbytes if isinstance(state, Tensor) else sum(map(add, state))

    return add(encoder.initial_state(1, torch.device("cpu"), torch.float32))


def estimate_test(config: Config, encoder: Encoder, frame: int) -> int:
    """``estimate_memory`` of tests alone: of a model that is trained already."""
    model: Any = config.model
    tested = config.evaluation.batch_size * config.clip.frames * len(config.clip.streams)
    weights = sum(NUMBER * parameter.numel() for parameter in encoder.parameters())
    kernels = KERNELS if encoder.populations else 0
    size = NUMBER * torch.Size(encoder.shape).numel()
    return int(kernels + weights + 2 * tested * size + min(model.frames_together, tested) * frame)


def estimate_memory(
    config: Config, encoder: Encoder, frame: int, trained_frame: int, *, recompute: bool | None = None
) -> int:
    """Bytes that the module's account gives.

    ``frame`` is what ``measure_frame`` says, and ``trained_frame`` in the training's precision.
    """
    model: Any = config.model
    recompute = model.recompute if recompute is None else recompute
    steps, size = config.clip.frames * len(config.clip.streams), NUMBER * torch.Size(encoder.shape).numel()
    trained, tested = config.training.batch_size * steps, config.evaluation.batch_size * steps
    together = min(model.frames_together, max(trained, tested))
    weights = 4 * sum(NUMBER * parameter.numel() for parameter in encoder.parameters())
    kept = min(together, trained) if recompute else trained
    training = 2 * trained * size + round(BACKWARD * kept * trained_frame)
    if recompute:
        clips, frames = trained // config.clip.frames, config.clip.frames
        training += clips * math.ceil(frames / min(together, frames)) * measure_state(encoder)
    kernels = KERNELS if encoder.populations else 0
    return int(kernels + weights + max(training, 2 * tested * size + together * frame))


def find_free_memory(device: torch.device) -> int | None:
    """Bytes that may be had now on a device; None: it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
        limit = (
            (_CGROUP / "memory.max").read_text(encoding="utf-8").strip() if (_CGROUP / "memory.max").exists() else ""
        )
        if limit.isdecimal():
            used = int((_CGROUP / "memory.current").read_text(encoding="utf-8"))
            free.append(int(limit) - used + _read_cache())
    except (OSError, ValueError, IndexError):
        return None
    return min(free, default=None)


def _read_cache() -> int:
    """Bytes of files that the group has read lately and gives back when memory is asked for."""
    lines = (_CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split()[0] in ("inactive_file", "active_file"))


def check_memory(config: Config, encoder: Encoder | None, *, trains: bool = True) -> int | None:
    """Check that a training from frames fits; return its estimate in bytes, None where nothing is trained from frames.

    Where nothing is to be trained any more (``trains``), its tests have to fit.

    Raises:
        ConfigError: it does not; says what to change.
    """
    if encoder is None or not isinstance(config.model, EndToEndSettings):
        return None
    model, device = config.model, resolve_device(config.device).main
    if device.type == "cuda":  # each process has a GPU of its own, and its share of a batch
        share = -(-config.training.batch_size // distributed.world_size())
        config = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": share})})
    frame = measure_frame(encoder)
    if not trains or config.training.skip:
        needed = estimate_test(config, encoder, frame)
    else:
        trained_frame = measure_frame(encoder, config.precision)
        needed = estimate_memory(config, encoder, frame, trained_frame)
    free = find_free_memory(device)
    if free is None or needed + SLACK <= free:
        return needed
    needed += int(SLACK)
    if not trains or config.training.skip:
        raise ConfigError(
            f"model: testing {config.evaluation.batch_size} clips of {config.clip.frames} frames at once takes about "
            f"{show_bytes(needed)} of memory, {show_bytes(free)} are free: lower evaluation.batch_size or "
            "model.frames_together"
        )
    training, spared = config.training, estimate_memory(config, encoder, frame, trained_frame, recompute=True)
    spared += int(SLACK)
    can_spare = spared < needed and not model.recompute
    way = f"set model.recompute to true (about {show_bytes(spared)}), lower " if can_spare else "lower "
    raise ConfigError(
        f"model: training on {training.batch_size} clips of {config.clip.frames} frames at once takes about "
        f"{show_bytes(needed)} of memory, {show_bytes(free)} are free: {way}training.batch_size, "
        "evaluation.batch_size, model.frames_together, clip.size or clip.frames (the estimate is of clips that have "
        "them all), or begin at a later layer (model.train_from)"
    )
