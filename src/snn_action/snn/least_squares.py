"""Classes by regularized least squares, as decoders are solved, in units of logits."""

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = torch.logspace(-2, 3, 501, dtype=torch.float64)


def fit_least_squares(x: Tensor, labels: Tensor, num_classes: int, strength: float) -> tuple[Tensor, Tensor]:
    """``s W`` (K, D) and ``s b`` (K,), where ``W`` and ``b`` minimize ``sum |W x + b - t|^2 + strength |W|^2``.

    The target ``t`` of a clip is 1 for its class and -1 for the others. What this gives lies between the targets; the
    factor ``s`` makes logits of it. It is the one of ``SCALES`` with the least cross-entropy of predictions for clips
    left out, each by weights solved without it: ``t - (t - f) / (1 - h)``, with f the fit and h the clip's leverage
    (Golub, Heath, Wahba 1979). ``x`` is (C, D) float64.
    """
    target = 2.0 * F.one_hot(labels, num_classes).to(x) - 1
    mean, middle = x.mean(0), target.mean(0)
    centered = x - mean
    products = centered @ centered.T
    factor = torch.linalg.cholesky(products + strength * torch.eye(len(x)).to(x))
    share = torch.cholesky_solve(target - middle, factor)
    weight = share.T @ centered
    # Of h a part is the mean's: 1 / C. The rest is the diagonal of P (P + strength I)^-1 = I - strength (P + ...)^-1.
    leverage = 1 - strength * torch.cholesky_inverse(factor).diagonal() + 1 / len(x)
    fit = products @ share + middle
    left_out = target - (target - fit) / (1 - leverage).clamp(min=1e-12).unsqueeze(1)
    scales = SCALES.to(x)
    loss = torch.stack([F.cross_entropy(scale * left_out, labels) for scale in scales])
    scale = scales[loss.argmin()]
    return scale * weight, scale * (middle - weight @ mean)
