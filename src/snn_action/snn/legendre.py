"""The Legendre memory: the last ``theta`` steps of a value as coefficients of shifted Legendre polynomials.

    theta dm/dt = A' m + B' u,   A'_ij = (2i + 1) (-1 if i < j else (-1)^(i - j + 1)),   B'_i = (2i + 1) (-1)^i

Discretized, ``m_t = A m_{t-1} + B u_t``, by zero-order hold (``zoh``: exact for a ``u`` that is constant over a step)
or Euler (``A = I + A' / theta``, ``B = B' / theta``). The value r theta steps ago is ``sum_i P_i(2 r - 1) m_i``:
coefficient 0 is the window's mean, the higher ones say how ``u`` moved. Older values fade, so a sequence may be longer
than theta.

Without feedback into it, the memory is a linear filter: over all steps at once it is the convolution of ``u`` with the
impulse response ``H_k = A^k B`` (Chilkuri and Eliasmith 2021), and at one step a single matrix product. A short
sequence is one product with all pairs of its steps. A long one is cut into chunks, from one of which to the next the
memory is handed: inside them and from their starts it is one product again, ``order`` and a few dozen multiply-adds a
value. An FFT has a few dozen operations a value whatever the order, none of them in a large product, and passes over
its result several times: it is used at a high order for few values alone.

Source: Voelker, Kajic and Eliasmith, "Legendre Memory Units", NeurIPS 2019.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.snn.counting import Connection, count_as
from snn_action.snn.masks import take_last
from snn_action.snn.settings import Discretizer, Trained

CHUNKS, LONGEST_CHUNK = range(24, 49), 64  # steps of a chunk; a sequence up to the latter is one chunk
FFT_ORDER, FFT_VALUES = 256, 4  # from which order, and up to how many values of all clips, an FFT is faster
KEPT = 8  # matrices made of A and B: for clips of different lengths, and forward and last


def continuous_matrices(order: int, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """``A'`` (order, order) and ``B'`` (order,) of the module's equation, float64."""
    i = torch.arange(order, dtype=torch.float64, device=None if like is None else like.device)
    alternate = 1 - 2 * (i % 2)  # (-1)^i, of which torch.compile loses the sign
    sign = torch.where(i[:, None] < i[None, :], -1.0, -alternate[:, None] * alternate)
    return (2 * i[:, None] + 1) * sign, (2 * i + 1) * alternate


def legendre_matrices(order: int, theta: float | Tensor, discretizer: Discretizer = "zoh") -> tuple[Tensor, Tensor]:
    """``A`` (order, order) and ``B`` (order,) of one step, float64, with a gradient to ``theta`` where it has one.

    ``zoh``: ``[[A, B], [0, 1]] = exp([[A', B'], [0, 0]] / theta)``.

    Raises:
        ValueError: ``order`` is not a whole number from 1, ``theta`` is not positive and finite or is too small for
            its matrices to be finite, or the discretizer is unknown.
    """
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"order must be a whole number from 1, not {order}")
    if discretizer not in get_args(Discretizer):
        raise ValueError(f"discretizer must be one of {get_args(Discretizer)}, not {discretizer!r}")
    value = math.nan  # unknown to a compiler, where it is a tensor
    if not (isinstance(theta, Tensor) and torch.compiler.is_compiling()):
        value = float(theta.detach()) if isinstance(theta, Tensor) else theta
        if not 0 < value < math.inf:
            raise ValueError(f"theta must be a positive, finite number of steps, not {value}")
    a, b = continuous_matrices(order, theta if isinstance(theta, Tensor) else None)
    if isinstance(theta, Tensor):
        theta = theta.double()
    system = torch.cat([torch.cat([a, b.unsqueeze(1)], 1), a.new_zeros(1, order + 1)]) / theta
    if not math.isnan(value) and not bool(system.isfinite().all()):
        raise ValueError(f"theta {value:g} is too small for order {order}: its matrices are not finite")
    if discretizer == "euler":
        return torch.eye(order, dtype=a.dtype, device=a.device) + system[:order, :order], system[:order, order]
    discrete = torch.linalg.matrix_exp(system)
    return discrete[:order, :order], discrete[:order, order]


def spectral_radius(matrix: Tensor) -> float:
    """Largest absolute eigenvalue: above 1, what the memory holds grows without end."""
    return float(torch.linalg.eigvals(matrix.detach().double()).abs().max())


def impulse_response(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """``H`` (steps, order), ``H_k = A^k B``, by doubling: ``log2(steps)`` products."""
    response, power = b.unsqueeze(0), a
    while len(response) < steps:
        response = torch.cat([response, response @ power.T])
        power = power @ power
    return response[:steps]


class LegendreMemory(nn.Module):
    """``size`` values, each with a memory of its own; the matrices are shared.

    ``trained`` says what learns: nothing, ``A`` and ``B``, or ``theta`` (kept as its logarithm). Either way the
    convolution stays exact, because the impulse response is made anew from the matrices of the moment.

    Args:
        order: Polynomials; the memory resolves about ``theta / order`` steps.
        theta: Steps that it holds.
        discretizer: ``zoh`` or ``euler``.
        trained: ``none``, ``matrices`` or ``theta``.

    Raises:
        ValueError: as ``legendre_matrices``.

    Warns:
        UserWarning: ``A`` has a spectral radius above 1 (Euler with a small theta), at construction, or in evaluation
            mode where a theta that learned has made it so.
    """

    def __init__(self, order: int, theta: float, discretizer: Discretizer = "zoh", trained: Trained = "none") -> None:
        super().__init__()
        if trained not in get_args(Trained):
            raise ValueError(f"trained must be one of {get_args(Trained)}, not {trained!r}")
        self.order, self.discretizer, self.trained = order, discretizer, trained
        a, b = legendre_matrices(order, theta, discretizer)
        self._warn_if_unstable(a, f"theta {theta:g}")
        a, b = a.to(torch.get_default_dtype()), b.to(torch.get_default_dtype())
        if trained == "theta":
            self.log_theta = nn.Parameter(torch.tensor(math.log(theta)))
        elif trained == "matrices":
            self.A, self.B = nn.Parameter(a), nn.Parameter(b)
        else:
            self.register_buffer("A", a)
            self.register_buffer("B", b)
        self._kept: dict[Any, Tensor] = {}

    def _warn_if_unstable(self, a: Tensor, theta: str) -> None:
        if (radius := spectral_radius(a)) > 1 + 1e-6:
            warnings.warn(
                f"the Legendre memory of order {self.order} and {theta} is unstable: its matrix A has spectral radius "
                f"{radius:.3g}, above 1, so what it holds grows at every step. Euler's rule needs a larger theta; "
                "discretizer 'zoh' is stable for every theta",
                stacklevel=3,
            )

    def train(self, mode: bool = True) -> Self:
        """Also warn where a learned theta has made the memory unstable; learned matrices are free to be so."""
        if not mode and self.training and self.trained == "theta":
            self._warn_if_unstable(self.matrices(self.log_theta)[0], f"trained theta {self.theta:g}")
        return super().train(mode)

    @property
    def theta(self) -> float | None:
        """Steps that the memory holds, where ``theta`` is trained."""
        return float(self.log_theta.detach().exp()) if self.trained == "theta" else None

    def made_of(self) -> tuple[Tensor, ...]:
        """The tensors that ``matrices`` come from."""
        return (self.log_theta,) if self.trained == "theta" else (self.A, self.B)

    def matrices(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """``A`` and ``B`` of this moment, in the type of ``like``."""
        if self.trained == "theta":
            a, b = legendre_matrices(self.order, self.log_theta.exp(), self.discretizer)
            return a.to(like), b.to(like)
        return self.A.to(like), self.B.to(like)

    def step(self, u: Tensor, memory: Tensor) -> Tensor:
        """``A m + B u`` of ``u`` (B, size) and ``memory`` (B, size, order)."""
        with count_as(lambda: self._connect(u, memory)):
            a, b = self.matrices(u)
            return torch.addcmul(memory @ a.T, u.unsqueeze(-1), b)

    def _connect(self, u: Tensor, before: Tensor) -> tuple[Connection, Connection]:
        """What a chip does in the steps of ``u`` (..., size), each with the memory ``before`` it (..., size, order)."""
        a, b = self.matrices(u)
        return Connection(before, a, name="A"), Connection(u, b, name="B")

    def forward(self, u: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Memories (B, T, size, order) at all steps of ``u`` (B, T, size), and that after each clip's last real step.

        ``memory`` (B, size, order) is the one before the first step (None: zero), ``mask`` a run of true, then false.

        Raises:
            ValueError: ``u`` or ``memory`` has another shape.
        """
        if u.ndim != 3 or u.shape[1] < 1:
            raise ValueError(f"u must be (batch, at least one step, size), not {tuple(u.shape)}")
        wanted = len(u), u.shape[2], self.order
        if memory is None:
            memory = u.new_zeros(wanted)
        elif memory.shape != wanted:
            raise ValueError(f"memory must have shape {wanted}, not {tuple(memory.shape)}")
        with count_as(lambda: self._connect(u, torch.cat([memory.unsqueeze(1), memories[:, :-1]], 1))):
            memories = self._run(u, memory)
        return memories, take_last(memories, mask)

    def _run(self, u: Tensor, memory: Tensor) -> Tensor:
        batch, steps, size = u.shape
        known = not (memory.requires_grad or torch.compiler.is_compiling())  # to a compiler, numbers are not
        empty = known and not bool(memory.any())
        if empty and self._prefers_fft(u):
            with torch.autocast(u.device.type, enabled=False):
                return self._convolve(u.to(memory))
        chunk = steps if steps <= LONGEST_CHUNK else min(CHUNKS, key=lambda size: -steps % size)  # least left over
        count = -(-steps // chunk)
        inputs = F.pad(u.transpose(1, 2), (0, count * chunk - steps)).reshape(-1, count, chunk)
        if count == 1 and empty:
            held = inputs @ self._keep(_pair_steps, chunk, u)
        else:
            with torch.autocast(u.device.type, enabled=False):  # what is handed on keeps the state's precision
                held = self._hand_on(inputs.to(memory), memory.reshape(-1, self.order))
        return held.view(batch, size, count * chunk, self.order)[:, :, :steps].transpose(1, 2)

    def _prefers_fft(self, u: Tensor) -> bool:
        """Whether an FFT is the fastest way: at a high order, on a long sequence of few values."""
        large = self.order >= FFT_ORDER and u.shape[1] > LONGEST_CHUNK
        return large and len(u) * u.shape[2] <= FFT_VALUES and u.dtype in (torch.float32, torch.float64)

    def _convolve(self, u: Tensor) -> Tensor:
        """Memories (B, T, size, order), from an empty one, by FFT."""
        steps = u.shape[1]
        length = 2 ** math.ceil(math.log2(2 * steps - 1))
        response = torch.fft.rfft(self._keep(impulse_response, steps, u), length, dim=0)  # (F, order)
        values = torch.fft.rfft(u, length, dim=1)  # (B, F, size)
        memories: Tensor = torch.fft.irfft(values.unsqueeze(-1) * response.unsqueeze(1), length, dim=1)
        return memories[:, :steps]

    def _hand_on(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """Memories (R, chunks, chunk order) of ``inputs`` (R, chunks, chunk) that begin with ``memory`` (R, order)."""
        chunk = inputs.shape[2]
        pairs, fading = self._keep(_pair_steps, chunk, memory), self._keep(_fade_steps, chunk, memory)
        starts = [memory]
        for end in (inputs[:, :-1] @ pairs[:, -self.order :]).unbind(1):
            starts.append(torch.addmm(end, starts[-1], fading[:, -self.order :]))
        return torch.cat([inputs, torch.stack(starts, 1)], -1) @ torch.cat([pairs, fading])

    def last(self, u: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """The memory (B, size, order) after each clip's last real step: one matrix product over all steps."""
        batch, steps, size = u.shape
        lengths = torch.full((batch,), steps, device=u.device) if mask is None else mask.sum(1)
        if mask is not None:  # each clip's last real step comes last, and what it has not at first is zero
            place = torch.arange(steps, device=u.device) - (steps - lengths).unsqueeze(1)
            u = u.gather(1, place.clamp(min=0).unsqueeze(-1).expand_as(u)) * (place >= 0).unsqueeze(-1)
        response = self._keep(impulse_response, steps, u)
        held = (u.transpose(1, 2).reshape(-1, steps) @ response.flip(0)).view(batch, size, self.order)
        if memory.requires_grad or bool(memory.any()):
            a, _ = self.matrices(memory.double())
            different, which = torch.unique(lengths, return_inverse=True)
            powers = torch.stack([torch.linalg.matrix_power(a, length) for length in different.tolist()])
            held = held + memory @ powers.to(memory)[which].mT
        return held

    def _keep(self, make: Callable[[Tensor, Tensor, int], Tensor], steps: int, like: Tensor) -> Tensor:
        """What ``make`` gives of ``A``, ``B`` and ``steps``, in the type of ``like``; kept while the matrices stay.

        It is made in float64: powers of ``A`` add up what they are rounded by.
        """
        if self.trained != "none" or torch.compiler.is_compiling() or self.A.is_inference():
            # learned, a compiler's, or of inference mode, where matrices do not say when they change
            return make(*self.matrices(like.double()), steps).to(like)
        key = make, steps, like.dtype, like.device, self.A._version, self.B._version, self.A.data_ptr()
        if key not in self._kept:
            with torch.inference_mode(False), torch.no_grad():
                made = make(self.A.double(), self.B.double(), steps).to(like)
            self._kept = dict([*self._kept.items(), (key, made)][-KEPT:])
        return self._kept[key]


def _pair_steps(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """``H_{t - s}`` at (s, (t, order)), what input s adds to the memory at t; zero where s comes after t."""
    lag = torch.arange(steps, device=a.device)
    lag = lag - lag.unsqueeze(1)
    return (impulse_response(a, b, steps)[lag.clamp(min=0)] * (lag >= 0).unsqueeze(-1)).flatten(1)


def _fade_steps(a: Tensor, _: Tensor, steps: int) -> Tensor:
    """``A^(t + 1)`` at (order, (t, order)), what the memory before the first step adds to that at t."""
    powers = a.unsqueeze(0)
    while len(powers) < steps:
        powers = torch.cat([powers, powers @ powers[-1]])
    return powers[:steps].permute(2, 0, 1).flatten(1)
