"""The LMU's loop over time, with its backward pass written out.

    u_t = d_t + E_h h_{t-1} + E_m m_{t-1}
    m_t = A m_{t-1} + B u_t
    h_t = tanh(p_t + W_m m_t + W_h h_{t-1})

``d`` and ``p`` come from the input and are one product over all steps. Backward, the loop keeps only what steps hand to
each other; the gradient of every weight is one product over all steps after it, instead of a small one at each step.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.counting import Connection, count_as
from snn_action.snn.fused import autograd


class Weights(NamedTuple):
    """``E_h`` (d, units), ``E_m`` (d, d order), ``W_m`` (units, d order), ``W_h`` (units, units); None: absent."""

    from_hidden: Tensor | None
    from_memory: Tensor | None
    memory: Tensor
    recurrent: Tensor | None
    A: Tensor
    B: Tensor


def run_lmu(
    drive: Tensor, push: Tensor, weights: Weights, memory: Tensor, hidden: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden units (B, T, units) at all steps, and memory and hidden units after each clip's last real step.

    Args:
        drive: d (B, T, d), the input's part of u.
        push: p (B, T, units), the input's part of h, with the bias.
        weights: See there.
        memory: Before the first step, (B, d, order).
        hidden: Before the first step, (B, units).
        mask: (B, T), true on real steps; on the others the state stays and is given again.
    """
    with torch.autocast(drive.device.type, enabled=False):  # steps keep the state's precision
        after = _Loop.apply(drive.to(hidden), push.to(hidden), memory, hidden, mask, *weights)  # type: ignore[no-untyped-call]
    return after[0].transpose(0, 1), after[1], after[2]


class _Loop(torch.autograd.Function):
    """Time comes first inside, so that each step is one piece of memory."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, push: Tensor, memory: Tensor, hidden: Tensor, mask: Tensor | None, *parts: Tensor
    ) -> tuple[Tensor, ...]:
        w = Weights(*parts)
        batch, steps, size = drive.shape
        order = len(w.B)
        us = drive.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        hs = torch.empty(steps + 1, batch, hidden.shape[1], dtype=hidden.dtype, device=hidden.device)
        ms = torch.empty(steps + 1, batch, size * order, dtype=hidden.dtype, device=hidden.device)
        hs[0], ms[0] = hidden, memory.flatten(1)
        every_h, every_m = hs.unbind(), ms.unbind()
        with count_as(lambda: _connect(w, us, hs, ms)):
            _Loop.advance(w, us, push, every_h, every_m, mask)
        ctx.save_for_backward(us, hs, ms, mask, drive, push, memory, hidden, *parts)
        return hs[1:], ms[-1].view(batch, size, order).clone(), hs[-1].clone()

    @staticmethod
    def advance(
        w: Weights,
        us: Tensor,
        push: Tensor,
        every_h: tuple[Tensor, ...],
        every_m: tuple[Tensor, ...],
        mask: Tensor | None,
    ) -> None:
        """All steps: writes into ``us`` and into all but the first of hidden units and memories."""
        _, batch, size = us.shape
        order, minus_one = len(w.B), us.new_full((), -1.0)
        for t, (u, pushed, h, m) in enumerate(zip(us, push.unbind(1), every_h, every_m, strict=False)):
            if w.from_hidden is not None:
                u.addmm_(h, w.from_hidden.T)
            if w.from_memory is not None:
                u.addmm_(m, w.from_memory.T)
            after, remembered = every_h[t + 1], every_m[t + 1]
            new = remembered.view(batch, size, order)
            torch.matmul(m.view(batch, size, order), w.A.T, out=new)
            new.addcmul_(u.unsqueeze(-1), w.B)
            # tanh z as 2 sigmoid(2 z) - 1: on the CPU tanh takes three times as long
            torch.addmm(pushed, remembered, w.memory.T, beta=2, alpha=2, out=after)
            if w.recurrent is not None:
                after.addmm_(h, w.recurrent.T, alpha=2)
            torch.add(minus_one, after.sigmoid_(), alpha=2, out=after)
            if mask is not None:
                padded = ~mask[:, t].unsqueeze(1)
                remembered.copy_(torch.where(padded, m, remembered))
                after.copy_(torch.where(padded, h, after))

    @staticmethod
    def backward(ctx: Any, dhs: Tensor, dm: Tensor, dh: Tensor) -> tuple[Tensor | None, ...]:
        us, hs, ms, mask, drive, push, memory, hidden, *parts = ctx.saved_tensors
        w = Weights(*parts)
        if autograd.is_asked():
            given = [part for part in parts if part is not None]
            found = autograd.differentiate(
                partial(_replay, mask, w), (drive, push, memory, hidden, *given), (dhs, dm, dh)
            )
            of_parts = iter(found[4:])
            return *found[:4], None, *(None if part is None else next(of_parts) for part in parts)
        steps, batch, size = us.shape
        order = len(w.B)
        dus, dzs, dms = torch.empty_like(us), torch.empty_like(hs[1:]), torch.empty_like(ms[1:])
        onto_memory = (
            w.memory.T.contiguous().T
        )  # a product onto few columns is several times as fast with these in a row
        dm, dh = dm.flatten(1), dh + dhs[-1]
        for t in reversed(range(steps)):
            real = None if mask is None else mask[:, t].unsqueeze(1)
            dz = torch.ops.aten.tanh_backward.grad_input(dh, hs[t + 1], grad_input=dzs[t])
            before_m, before_h = 0.0, 0.0
            if real is not None:
                dz *= real
                before_m, before_h = dm * ~real, dh * ~real
                dm = dm * real
            new = torch.addmm(dm, dz, onto_memory, out=dms[t])
            du = torch.mv(new.view(-1, order), w.B, out=dus[t].view(-1)).view(batch, size)
            dm = (new.view(batch, size, order) @ w.A).flatten(1)
            if w.from_memory is not None:
                dm.addmm_(du, w.from_memory)
            earlier = dhs[t - 1] if t else torch.zeros_like(dh)
            dh = earlier.clone() if w.recurrent is None else torch.addmm(earlier, dz, w.recurrent)
            if w.from_hidden is not None:
                dh.addmm_(du, w.from_hidden)
            if real is not None:
                dm += before_m
                dh += before_h
        flat_u, flat_z, flat_m = dus.flatten(0, 1), dzs.flatten(0, 1), dms.view(-1, order)
        earlier_m, earlier_h = ms[:-1].flatten(0, 1), hs[:-1].flatten(0, 1)
        used = ms[1:] if mask is None else ms[1:] * mask.T.unsqueeze(-1)
        needs = ctx.needs_input_grad
        return (
            dus.transpose(0, 1),
            dzs.transpose(0, 1),
            dm.view(batch, size, order) if needs[2] else None,
            dh if needs[3] else None,
            None,
            flat_u.T @ earlier_h if needs[5] else None,
            flat_u.T @ earlier_m if needs[6] else None,
            (
                used.flatten(0, 1).T @ flat_z
            ).T,  # so and not the other way round: it is much faster where memories are few
            flat_z.T @ earlier_h if needs[8] else None,
            flat_m.T @ earlier_m.view(-1, order) if needs[9] else None,
            us.reshape(-1) @ flat_m if needs[10] else None,
        )


def _connect(w: Weights, us: Tensor, hs: Tensor, ms: Tensor) -> list[Connection]:
    """What a chip does at all steps: ``us`` (T, B, d), ``hs`` and ``ms`` (T + 1, B, ...) from before the first on."""
    before = ms[:-1]
    fed = (hs[:-1], w.from_hidden), (before, w.from_memory), (ms[1:], w.memory), (hs[:-1], w.recurrent)
    memory = Connection(before.view(*before.shape[:2], -1, len(w.B)), w.A, name="A"), Connection(us, w.B, name="B")
    return [Connection(inputs, weight) for inputs, weight in fed if weight is not None] + list(memory)


def _replay(
    mask: Tensor | None, like: Weights, drive: Tensor, push: Tensor, memory: Tensor, hidden: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``_Loop.forward`` computes, by operations that can be differentiated more than once."""
    rest = iter(given)
    w = Weights(*(None if part is None else next(rest) for part in like))  # type: ignore[arg-type]
    outputs = []
    for t in range(drive.shape[1]):
        u = drive[:, t]
        if w.from_hidden is not None:
            u = u + hidden @ w.from_hidden.T
        if w.from_memory is not None:
            u = u + memory.flatten(1) @ w.from_memory.T
        remembered = memory @ w.A.T + u.unsqueeze(-1) * w.B
        z = push[:, t] + remembered.flatten(1) @ w.memory.T
        if w.recurrent is not None:
            z = z + hidden @ w.recurrent.T
        after = torch.tanh(z)
        if mask is not None:
            real = mask[:, t].unsqueeze(1)
            remembered = torch.where(real.unsqueeze(2), remembered, memory)
            after = torch.where(real, after, hidden)
        memory, hidden = remembered, after
        outputs.append(after)
    return torch.stack(outputs), memory, hidden
