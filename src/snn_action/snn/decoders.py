"""What neurons of an ensemble decode: weights for their rates, by regularized least squares (Nengo's LstsqL2)."""

from collections.abc import Callable

import torch
from torch import Tensor

from snn_action.snn.settings import FunctionName

EVALUATION_POINTS = 201  # of one dimension; 500 for each where there are more
REGULARIZATION = 0.1  # noise, as a share of the highest rate
ENSEMBLES = 2**21  # values of a (ensembles, points, neurons) tensor


def identity(x: Tensor) -> Tensor:
    """``x``."""
    return x


def product(x: Tensor) -> Tensor:
    """The product of an ensemble's dimensions (..., D), as (..., 1)."""
    return x.prod(-1, keepdim=True)


# By name, so that a model that holds one can be pickled.
FUNCTIONS: dict[FunctionName, Callable[[Tensor], Tensor]] = {
    "identity": identity,
    "square": torch.square,
    "absolute": torch.abs,
    "product": product,
}


def make_points(dimensions: int) -> Tensor:
    """Values (M, D) at which functions are fitted: a line from -1 to 1, or at random in the unit ball (seed 0)."""
    if dimensions == 1:
        return torch.linspace(-1, 1, EVALUATION_POINTS, dtype=torch.float64).unsqueeze(1)
    generator = torch.Generator().manual_seed(0)
    count = min(500 * dimensions, 2500)
    directions = torch.randn(count, dimensions, generator=generator, dtype=torch.float64)
    radius = torch.rand(count, 1, generator=generator, dtype=torch.float64) ** (1 / dimensions)
    return radius * torch.nn.functional.normalize(directions)


def solve_decoders(
    rate: Callable[[Tensor], Tensor],
    scaled_encoders: Tensor,
    bias: Tensor,
    function: Callable[[Tensor], Tensor] = identity,
) -> Tensor:
    """Decoders with which rates stand for ``function(x)`` on [-1, 1] or in the unit ball.

    ``d = (A^T A + M sigma^2 I)^-1 A^T f(x)`` with rates A (M, N) at M points and ``sigma`` 0.1 of the highest rate.
    Float64 inside.

    Args:
        rate: Rates of currents.
        scaled_encoders: Gain times encoder, (E, N) or (E, N, D).
        bias: Bias current (E, N).
        function: What is decoded: from values (M,) to values (M,), with D dimensions from (M, D) to (M, F).

    Returns:
        (E, N), with D dimensions (E, N, F).
    """
    flat = scaled_encoders.ndim == 2
    encoders = scaled_encoders.unsqueeze(-1) if flat else scaled_encoders
    points = make_points(encoders.shape[2]).to(bias.device)
    wanted = function(points.squeeze(1)).unsqueeze(1) if flat else function(points)
    size = max(1, ENSEMBLES // (len(points) * bias.shape[1]))
    solved = []
    for encoder, offset in zip(torch.split(encoders, size), torch.split(bias, size), strict=True):
        activity = rate(points @ encoder.double().mT + offset.double().unsqueeze(1))  # (e, M, N)
        sigma = REGULARIZATION * activity.amax((1, 2))
        gram = activity.mT @ activity
        gram.diagonal(dim1=-2, dim2=-1).add_((len(points) * sigma.square()).clamp(min=1e-12).unsqueeze(-1))
        solved.append(torch.cholesky_solve(activity.mT @ wanted, torch.linalg.cholesky(gram)))
    decoders = torch.cat(solved).to(bias)
    return decoders.squeeze(-1) if flat else decoders
