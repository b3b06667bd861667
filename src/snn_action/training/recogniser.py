"""The temporal model as Lightning trains it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snn_action.config import TrainingSettings
from snn_action.core import distributed
from snn_action.core.compat import lightning
from snn_action.core.errors import WorkError
from snn_action.models import TemporalModel
from snn_action.training.clips import Batch, mix_seed
from snn_action.training.loss import sequence_loss, spike_penalty


class Recogniser(lightning.LightningModule):
    """One optimisation step: noise, forward, loss. Dropout and noise depend on (seed, epoch, step) alone."""

    def __init__(self, model: TemporalModel, settings: TrainingSettings, seed: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch
        self.seen = TrainingCounts()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout and noise, so that a run that goes on after a kill draws what it would have drawn."""
        del batch
        torch.manual_seed(mix_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        del batch_idx
        features, mask, label, weight = batch
        if self.settings.feature_noise:
            deviation = self.settings.feature_noise / self.model.standardiser.scale
            features = features + deviation * torch.randn_like(features)
        logits, state = self.model(features, mask=mask, keep_state=False)
        weights = self.settings.loss
        loss = sequence_loss(logits, mask, label, weights, self.settings.label_smoothing)
        if weights.spikes and self.model.populations:
            loss = loss + weights.spikes * spike_penalty(state, mask, self.model.populations, weights.spike_target)
        if not bool(loss.isfinite()):
            raise WorkError(
                f"the loss is {loss.item()} in epoch {self.current_epoch}: lower training.learning_rate, "
                "set training.gradient_clip, or use precision '32'"
            )
        if weight:
            self.seen.add(logits.detach(), mask, label, loss.detach())
        return loss * weight

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, and the schedule by step."""
        s = self.settings
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(parameters, s)
        warmup, total = s.warmup_epochs * self.steps_per_epoch, s.epochs * self.steps_per_epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: scale_rate(step, total, warmup, s.schedule == "cosine")
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(parameters: list[torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam or AdamW; on the CPU in one pass over each parameter, of which there would be a dozen.

    With clipping it is not: in mixed precision Lightning refuses to clip for such an optimiser.
    """
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    fused = settings.gradient_clip is None and all(parameter.device.type == "cpu" for parameter in parameters)
    kind, rate, decay = kinds[settings.optimizer], settings.learning_rate, settings.weight_decay
    return kind(parameters, lr=rate, weight_decay=decay, fused=fused or None)


def scale_rate(step: int, total: int, warmup: int, cosine: bool) -> float:
    """Factor of the learning rate: linear from 0 over ``warmup`` steps, then 1, or half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if not cosine or total <= warmup:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup))))


class TrainingCounts:
    """What training steps of one epoch gave, as the model was while they were taken (dropout and noise included)."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def add(self, logits: Tensor, mask: Tensor, label: Tensor, loss: Tensor) -> None:
        """Count a batch: its loss, right steps, steps, right last steps, right clips, clips."""
        right = (logits.argmax(-1) == label.unsqueeze(1)) & mask
        last = right.gather(1, mask.sum(1, keepdim=True) - 1)
        mean = (logits.float().softmax(-1) * mask.unsqueeze(-1)).sum(1)
        parts = (loss * len(label), right.sum(), mask.sum(), last.sum(), (mean.argmax(-1) == label).sum())
        sums = torch.stack([part.double() for part in (*parts, mask.new_tensor(len(label), dtype=torch.double))])
        self.sums = sums if self.sums is None else self.sums + sums

    def take(self) -> dict[str, float]:
        """Loss and accuracies since the last call, in all processes."""
        everyone = [
            sums for sums in distributed.all_gather_object(None if self.sums is None else self.sums.tolist()) if sums
        ]
        self.sums = None
        if not everyone:
            return {}
        loss, right, steps, last, clips, total = (sum(part) for part in zip(*everyone, strict=True))
        return {"loss": loss / total, "timestep": right / steps, "last": last / total, "clip": clips / total}
