"""Gradients that can be differentiated once more.

A kernel's backward pass is no record of operations. Where one is asked for (``create_graph=True``: a gradient penalty,
a Hessian), the kernel's function is computed again with PyTorch's own operations and differentiated by them. That is
as slow, and takes as much memory, as these operations do.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def is_asked() -> bool:
    """Inside a backward pass: whether its result is to be differentiated. What ``once_differentiable`` misses."""
    return torch.is_grad_enabled()


def differentiate(
    function: Callable[..., Sequence[Tensor]] | None,
    inputs: Sequence[Tensor],
    grads: Sequence[Tensor],
    own: Sequence[Tensor] = (),
) -> list[Tensor | None]:
    """Gradients of ``function(*inputs)`` for inputs that need one, then for what it has of its ``own``.

    ``grads`` are those of its outputs.

    Raises:
        RuntimeError: there is no function to compute again.
    """
    if function is None:
        raise RuntimeError(
            "the gradient of this fused kernel cannot be differentiated again (create_graph=True), as it was not told "
            "what it was traced from; use float64, for which PyTorch's own operations are used"
        )
    given = [tensor.view_as(tensor) for tensor in inputs]  # what is given twice is two inputs
    pairs = [(y, grad) for y, grad in zip(function(*given), grads, strict=True) if y.requires_grad]
    leaves = [*given, *own]
    places = [i for i, tensor in enumerate(leaves) if tensor.requires_grad]
    results: list[Tensor | None] = [None] * len(leaves)
    if not pairs or not places:
        return results
    outputs, grad_outputs = zip(*pairs, strict=True)
    found = torch.autograd.grad(
        outputs, [leaves[i] for i in places], grad_outputs, create_graph=True, allow_unused=True
    )
    for i, gradient in zip(places, found, strict=True):
        results[i] = gradient
    return results
