"""Multinomial logistic regression in closed form, as far as there is one: by L-BFGS to its minimum."""

import torch
from torch import Tensor
from torch.nn import functional as F


def fit_logistic(
    x: Tensor, labels: Tensor, num_classes: int, strength: float, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """``W`` (K, D) and ``b`` (K,) that minimise ``sum -log softmax(W x + b)[label] + strength / 2 |W|^2``.

    By L-BFGS with strong Wolfe line search, from ``start`` or zero. ``x`` is (C, D) float64.
    """
    if x.shape[1] > len(x):  # the best W lies in the span of the rows of x: solve there, it has fewer dimensions
        basis = torch.linalg.qr(x.T).Q
        inner = None if start is None else (start[0] @ basis, start[1])
        weight, bias = fit_logistic(x @ basis, labels, num_classes, strength, inner)
        return weight @ basis.T, bias
    if start is None:
        start = x.new_zeros(num_classes, x.shape[1]), x.new_zeros(num_classes)
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=1000, tolerance_grad=1e-6, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), labels, reduction="sum")
        value = value + strength / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
