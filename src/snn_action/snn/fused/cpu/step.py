"""One time step of a vector of neurons in machine code: onward by the neurons' equations, and back through them.

A mask holds neurons still: on padding they give nothing, and their states and gradients pass as they are.
"""

from collections.abc import Sequence
from typing import Any

from snn_action.snn.fused.cpu import vector
from snn_action.snn.fused.cpu.vector import Vector, apply, choose, constant, spread
from snn_action.snn.fused.ir import Equations, Program


def prepare(b: Any, program: Program, equations: Equations, params: Any) -> dict[int, Vector]:
    """What of a program depends on its parameters alone, computed once before all steps."""
    first = 1 + equations.states
    return vector.prepare(b, program, dict(enumerate(spread(b, params, equations.parameters), first)))


def advance(
    b: Any, program: Program, current: Vector, states: Sequence[Vector], fixed: dict[int, Vector], mask: Vector | None
) -> tuple[Vector, list[Vector]]:
    """Output and states after one step; with a mask, no output on padding, and the states as they were."""
    output, *after = apply(b, program, [current, *states], fixed)
    if mask is None:
        return output, after
    held = [choose(b, mask, new, old) for new, old in zip(after, states, strict=True)]
    return choose(b, mask, output, constant(0.0)), held


def retreat(
    b: Any,
    program: Program,
    current: Vector,
    states: Sequence[Vector],
    parameters: Sequence[Vector],
    grad_output: Vector,
    grad_states: Sequence[Vector],
    fixed: dict[int, Vector],
    mask: Vector | None,
) -> tuple[Vector, list[Vector], list[Vector]]:
    """Gradients of the current, of the states before one step and of the parameters."""
    found = apply(b, program, [current, *states, *parameters, grad_output, *grad_states], fixed)
    slope, earlier, shares = found[0], found[1 : 1 + len(states)], found[1 + len(states) :]
    if mask is None:
        return slope, earlier, shares
    zero = constant(0.0)
    held = [choose(b, mask, new, old) for new, old in zip(earlier, grad_states, strict=True)]
    return choose(b, mask, slope, zero), held, [choose(b, mask, share, zero) for share in shares]
