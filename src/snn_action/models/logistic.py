"""Multinomial logistic regression, by L-BFGS to its minimum."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

EXACT = 1e-6  # largest part of the gradient where the minimum is reached
ROUGH = 1.0  # that of a first approach
SMALL = 2**25  # products of a pass over the clips, below which threads wait for each other longer than they work
LEAST_CURVATURE = 1e-4  # of a clip that is told for certain
ROUNDING = torch.finfo(torch.float64).eps


def fit_logistic(x: Tensor, labels: Tensor, num_classes: int, strength: float) -> tuple[Tensor, Tensor]:
    """``W`` (K, D) and ``b`` (K,) that minimize ``sum -log softmax(W x + b)[label] + strength / 2 |W|^2``.

    ``x`` is (C, D) float64.
    """
    return LogisticRegression(x, labels, num_classes).fit(strength)


class LogisticRegression:
    """``fit_logistic`` for several strengths, each from the last one's minimum.

    The loss is curved as ``p (1 - p) x x^T`` of its clips, and features of a CNN differ in size a thousand times along
    the axes of ``x^T x``. So the problem is solved on these axes, each in units of its own curvature, in which it is
    about as steep in all directions; that takes a third of the steps. Where there are fewer clips than features, the
    best W lies in the span of the clips, and there are only as many axes.

    Args:
        x: (C, D) float64.
        labels: (C,), from 0 to K - 1.
        num_classes: K.
    """

    def __init__(self, x: Tensor, labels: Tensor, num_classes: int) -> None:
        basis = torch.linalg.qr(x.T).Q if x.shape[1] > len(x) else torch.eye(x.shape[1]).to(x)
        inner = x @ basis
        size, axes = torch.linalg.eigh(inner.T @ inner)
        self.axes = basis @ axes  # (D, R), orthonormal
        self.size = size.clamp(min=0)
        self.x = x @ self.axes
        self.labels = labels
        self.weight = x.new_zeros(num_classes, len(size))
        self.bias = x.new_zeros(num_classes, 1)

    def fit(self, strength: float, tolerance: float = EXACT) -> tuple[Tensor, Tensor]:
        """``W`` (K, D) and ``b`` (K,) at a strength, with no part of the gradient above ``tolerance`` (or rounding)."""
        with few_threads(self.x.numel() * len(self.bias)):
            for part in (ROUGH, tolerance):  # the curvature is that of the start: near the end it is taken anew
                self._descend(strength, part)
        return self.weight @ self.axes.T, self.bias.squeeze(1)

    def _descend(self, strength: float, tolerance: float) -> None:
        shares = torch.softmax(self.x @ self.weight.T + self.bias.T, 1)
        curvature = (shares * (1 - shares)).mean().clamp(min=LEAST_CURVATURE)
        unit = (curvature * self.size + strength).rsqrt()
        unit_bias = (curvature * len(self.x)).rsqrt().reshape(1)
        units = torch.cat([unit, unit_bias])
        x = torch.cat([self.x * unit, unit_bias.expand(len(self.x), 1)], 1)
        penalty = strength * torch.cat([unit, torch.zeros_like(unit_bias)]).square()
        solved = (torch.cat([self.weight, self.bias], 1) / units).requires_grad_()
        # Here a gradient g promises g^2 / 2, which must be more than the loss is rounded by for a step to be found.
        noise = math.sqrt(ROUNDING * len(x) * math.log(len(self.bias)))
        optimizer = torch.optim.LBFGS(
            [solved],
            max_iter=1000,
            history_size=10,  # of steps remembered: more of them cost more time than they spare
            tolerance_grad=max(tolerance * float(units.min()), noise),
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(x @ solved.T, self.labels, reduction="sum")
            value = value + (penalty * solved.square()).sum() / 2
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        whole = solved.detach() * units
        self.weight, self.bias = whole[:, :-1], whole[:, -1:]


@contextmanager
def few_threads(products: int) -> Iterator[None]:
    """One thread alone where there is little to do: on a machine that others use, several take many times as long."""
    threads = torch.get_num_threads()
    if products >= SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
