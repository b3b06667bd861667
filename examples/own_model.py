"""A temporal model of your own: a gated recurrent unit (Cho et al. 2014).

python examples/own_model.py

From a package of your own: [project.entry-points."snn_action.model"] gru = "my_package.own_model:GRUSettings"
"""

from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from snn_action.models import ModelSettings, TemporalModel, build_model
from snn_action.models.base import InputStandardizer


class GRUSettings(ModelSettings):
    type: Literal["gru"] = Field("gru", description="Which model this is")
    builds: ClassVar[str] = "GRU"
    units: int = Field(64, ge=1, description="Hidden units")


class GRUState(NamedTuple):
    hidden: Tensor  # (B, units)


class GRU(TemporalModel):
    """``logits_t = W gru(x)_t + b``."""

    Settings = GRUSettings

    def make_parts(self):
        self.standardizer = InputStandardizer(self.in_features, "global")
        self.cell = nn.GRUCell(self.in_features, self.settings.units)
        self.readout = nn.Linear(self.settings.units, self.num_classes)

    def initial_state(self, batch, device, dtype):
        return GRUState(torch.zeros(batch, self.settings.units, device=device, dtype=dtype))

    def forward_steps(self, x, state, mask):
        hidden, outputs = state.hidden, []
        for t, now in enumerate(x.unbind(1)):
            new = self.cell(now, hidden)
            hidden = new if mask is None else torch.where(mask[:, t, None], new, hidden)  # padding changes nothing
            outputs.append(hidden)
        return self.readout(torch.stack(outputs, 1)), GRUState(hidden)


if __name__ == "__main__":
    model = GRU(in_features=5, num_classes=3, units=16).eval()
    clips = torch.randn(2, 7, 5)  # (B, T, D)
    logits, _ = model(clips)
    state = None
    for frame in clips.unbind(1):
        step, state = model.step(frame, state)
    print(f"the last step differs by {(step - logits[:, -1]).abs().max().item():.1e} from one pass over the clip")
    named = build_model({"type": "gru", "units": 16}, in_features=5, num_classes=3)
    print("by its name:", type(named).__name__, "with", sum(weight.numel() for weight in named.parameters()), "weights")
