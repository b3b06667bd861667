"""Long short-term memory, the decoder of the original project's CNN + LSTM: LSTM layers, ReLU layer, logits."""

import logging
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from snn_action.models.base import InputStandardizer, TemporalModel, perturb
from snn_action.models.settings import Input, LSTMSettings, Scaling
from snn_action.snn.counting import count_updates

logger = logging.getLogger(__name__)


class LSTMState(NamedTuple):
    """Hidden and cell values of all layers, each (B, layers, units)."""

    hidden: Tensor
    cell: Tensor


class LSTM(TemporalModel):
    """``logits_t = W_2 dropout(relu(W_1 lstm(x)_t + b_1)) + b_2``, PyTorch's LSTM and its initialization."""

    Settings = LSTMSettings
    settings: LSTMSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            scaling: Scaling = "global",
            layers: int = 3,
            units: int = 512,
            readout_units: int = 256,
            input_dropout: float = 0.0,
            input_noise: float = 0.0,
            dropout: float = 0.3,
            settings: LSTMSettings | None = None,
        ) -> None: ...

    def make_parts(self) -> None:
        """See the class."""
        s = self.settings
        self.standardizer = InputStandardizer(self.in_features, s.scaling)
        between = s.dropout if s.layers > 1 else 0.0
        self.lstm = nn.LSTM(self.in_features, s.units, s.layers, batch_first=True, dropout=between)
        self.fc = nn.Linear(s.units, s.readout_units)
        self.readout = nn.Linear(s.readout_units, self.num_classes)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> LSTMState:
        """Zeros."""
        zeros = torch.zeros(batch, self.settings.layers, self.settings.units, device=device, dtype=dtype)
        return LSTMState(zeros, zeros)

    def forward_steps(self, x: Tensor, state: LSTMState, mask: Tensor | None) -> tuple[Tensor, LSTMState]:
        """Clips are packed by length, so that the state is that after each one's last real step."""
        if self.training:
            x = perturb(x, self.settings.input_dropout, self.settings.input_noise)
        single = (
            x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not _can(torch.get_autocast_dtype("cpu"))
        )
        with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled(x.device.type) and not single):
            output, after = self._run_layers(x, state, mask)
        output = F.dropout(self.fc(output).relu(), self.settings.dropout, self.training)
        return self.readout(output), after

    def _run_layers(self, x: Tensor, state: LSTMState, mask: Tensor | None) -> tuple[Tensor, LSTMState]:
        """Hidden values (B, T, units) of the last LSTM layer, and the state."""
        before = (state.hidden.transpose(0, 1).contiguous(), state.cell.transpose(0, 1).contiguous())
        if mask is None:
            output, after = self.lstm(x, before)
        else:
            packed = pack_padded_sequence(x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
            packed, after = self.lstm(packed, before)
            output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        count_updates(x.shape[1] * state.cell.numel())
        return output, LSTMState(after[0].transpose(0, 1), after[1].transpose(0, 1))


@cache
def _can(dtype: torch.dtype) -> bool:
    """Whether this processor has an LSTM in ``dtype`` under autocast, found out by running a small one; a line says no.

    PyTorch hands it to oneDNN, which has none in half precision for many processors.
    """
    with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", dtype):
        try:
            output, _ = nn.LSTM(2, 2)(torch.zeros(1, 1, 2))
            output.sum().backward()
        except RuntimeError as error:
            logger.info("LSTM layers are computed in float32, as this processor has none in %s (%s)", dtype, error)
            return False
    return True
