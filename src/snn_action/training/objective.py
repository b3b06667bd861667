"""What training minimizes: the loss of a batch, and the accuracies that come with it."""

import torch
from torch import Tensor, nn

from snn_action.config import TrainingSettings
from snn_action.core import distributed
from snn_action.models import TemporalModel
from snn_action.training.loss import sequence_loss, spike_penalty


class Objective(nn.Module):
    """The loss of a batch: noise on the features, the model, cross-entropy and the penalty on spikes.

    One module, so that mixed precision and several processes cover all of it. The names of its weights are those of
    the model with the prefix ``model.``.
    """

    def __init__(self, model: TemporalModel, settings: TrainingSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def forward(
        self, features: Tensor, mask: Tensor, label: Tensor, mixed: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss () over clips, and the logits (B, T, K) without gradient.

        Args:
            features: (B, T, D).
            mask: (B, T), true on real steps.
            label: (B,).
            mixed: See ``sequence_loss``.
        """
        settings, weights = self.settings, self.settings.loss
        if settings.feature_noise:
            deviation = settings.feature_noise / self.model.input_scale
            features = features + deviation * torch.randn_like(features)
        logits, state = self.model(features, mask=mask, keep_state=False)
        loss = sequence_loss(logits, mask, label, weights, settings.label_smoothing, mixed)
        if weights.spikes and self.model.populations:
            loss = loss + weights.spikes * spike_penalty(state, mask, self.model.populations, weights.spike_target)
        return loss, logits.detach()


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
