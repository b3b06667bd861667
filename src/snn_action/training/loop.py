"""The training loop: every epoch is trained, measured, written down and kept.

Mixed precision with gradient scaling and the averaging of gradients over processes are those of Lightning's Fabric; all
else can be read here.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.compat import lightning_fabric
from snn_action.core.errors import WorkError
from snn_action.core.reading import naming
from snn_action.features.feature_set import FeatureSet
from snn_action.models import TemporalModel
from snn_action.models.end_to_end import EndToEnd
from snn_action.models.rounding import rounded
from snn_action.training.augment import make_augmenter
from snn_action.training.batch_norm import share_statistics
from snn_action.training.checkpoints import LAST, NO_TRAINING, TrainingState, begin_anew
from snn_action.training.clips import EpochSampler, make_loader, mix_seed
from snn_action.training.device import Device, resolve_device
from snn_action.training.history import EpochRecorder
from snn_action.training.objective import Objective, TrainingCounts
from snn_action.training.optimizer import learning_rate, make_optimizer, restore

logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # it greets; what can go wrong is said by us


class Autocast(lightning_fabric.plugins.MixedPrecision):
    """Mixed precision, with gradient scaling for ``16``.

    Other than Fabric's own, it leaves the features in single precision, as they are standardized before anything is
    rounded; and it rounds a weight anew wherever it is used, so that its gradients are summed in single precision.
    """

    def __init__(self, precision: Literal["bf16", "16"], device: str) -> None:
        super().__init__("bf16-mixed" if precision == "bf16" else "16-mixed", device)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float16

    def convert_input(self, data: Any) -> Any:
        """The features, mask and labels as they are."""
        return data

    def forward_context(self) -> torch.autocast:
        """The context of loss and model."""
        return torch.autocast(self.device, self.dtype, cache_enabled=False)


def train_epochs(
    model: TemporalModel,
    features: FeatureSet,
    clips: Sequence[int],
    config: Config,
    recorder: EpochRecorder,
    begin_from: TrainingState | None = None,
) -> None:
    """Train ``model`` in place until the last epoch, or until patience has run out. It ends on the CPU.

    The order of clips depends on the seed and the epoch alone, what ``training.augment`` draws on these and the clip,
    the learning rate on the step, and what dropout and noise draw on the seed, epoch, step and process: an epoch after
    a kill is that of a training that was never killed.

    Args:
        model: With the weights to begin with.
        features: Of all clips.
        clips: To train on. Each process takes its share of every batch.
        config: Its sections ``training``, ``seed``, ``device``, ``precision``.
        recorder: Knows the epochs so far; measures, writes and keeps each new one.
        begin_from: The checkpoint of the last epoch so far.

    Raises:
        WorkError: the loss is not finite.
    """
    settings, device = config.training, resolve_device(config.device)
    sampler = EpochSampler(len(clips), config.seed, settings.shuffle)
    loader = make_loader(
        features,
        clips,
        sampler,
        batch_size=settings.batch_size,
        workers=settings.workers,
        pin_memory=settings.pin_memory,
        reader=make_augmenter(features, clips, config),
        sorted_batches=settings.sorted_batches,
    )
    fabric = _make_fabric(config.precision, device)
    objective = Objective(model, settings).to(device.main).train()
    rates = model.rate_parts() if isinstance(model, EndToEnd) else ()
    optimizer = make_optimizer(objective.parameters(), settings, rates)
    precision = fabric.strategy.precision
    if begin_from is not None:
        model.load_state_dict(begin_from.weights)
        with naming(recorder.folder / LAST, NO_TRAINING, begin_anew):
            restore(optimizer, begin_from.optimizer)
            if begin_from.scaler:
                precision.load_state_dict(begin_from.scaler)
    parallel, stepper = fabric.setup(objective, optimizer)

    def pack(lines: list[dict[str, Any]]) -> TrainingState:
        states = (optimizer.state_dict(), precision.state_dict())
        return TrainingState(model.state_dict(), *states, lines, unrounded)

    recomputes = isinstance(model, EndToEnd) and model.settings.recompute  # parts, of which processes may have fewer
    shared = nn.Module() if recomputes else model
    counts, steps = TrainingCounts(), len(loader)
    for epoch in range(recorder.next_epoch, settings.epochs):
        if recorder.lost_patience():
            break
        begin = time.perf_counter()
        sampler.set_epoch(epoch)
        for index, batch in enumerate(loader):
            torch.manual_seed(mix_seed(config.seed, epoch, index, distributed.rank()))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps + index, steps, settings) * group.get("factor", 1.0)
            inputs, mask, label = (part.to(device.main, non_blocking=True) for part in batch[:3])
            mixed = batch.mixed and tuple(part.to(device.main) for part in batch.mixed)
            whole = share_statistics(shared, counts=bool(batch.weight))
            with rounded(model, settings.weight_bits), whole:
                loss, logits = parallel(inputs, mask, label, mixed)
                if not bool(loss.isfinite()):
                    raise WorkError(
                        f"the loss is {loss.item()} in epoch {epoch}: lower training.learning_rate, "
                        "set training.gradient_clip, or use precision '32'"
                    )
                if batch.weight:
                    counts.add(logits, mask, label, loss.detach())
                stepper.zero_grad()
                fabric.backward(loss * batch.weight)
            if settings.gradient_clip is not None:
                fabric.clip_gradients(parallel, stepper, max_norm=settings.gradient_clip, error_if_nonfinite=False)
            stepper.step()
        seconds = time.perf_counter() - begin
        rate = learning_rate(epoch * steps, steps, settings)
        with rounded(model, settings.weight_bits) as unrounded:
            recorder.finish({"epoch": epoch, "learning_rate": rate, "train": counts.take()}, seconds, pack)
    model.cpu()


def _make_fabric(precision: Literal["32", "bf16", "16"], device: Device) -> lightning_fabric.Fabric:
    """Fabric for the processes of this run, which ``torchrun`` has started."""
    fabric = lightning_fabric.Fabric(
        accelerator=device.accelerator,
        devices=device.devices,
        num_nodes=distributed.world_size() // distributed.local_world_size(),
        strategy="ddp" if distributed.world_size() > 1 else "auto",
        plugins=None if precision == "32" else Autocast(precision, device.accelerator),
    )
    fabric.launch()
    return fabric
