"""Random numbers that are a pure function of counters, so that no generator has a state (counter-based).

A hash takes a seed and any number of integer counters, one after another, into two 32-bit words ``x`` and ``y``:

    x = mix(x ^ counter),  y = mix(y + x)

    mix(x):  x ^= x >> 16,  x *= 0x21f0aaad,  x ^= x >> 15,  x *= 0x735a2d97,  x ^= x >> 15   (modulo 2^32)

Each such step is invertible in (x, y), so 64 bits of what came before live on. The last ``y`` is the random word. All
is done in int64: the multipliers are below 2^31, so no product with a 32-bit word leaves its positive range, and
results are the same on every device. As in the counter-based generators of Salmon et al. 2011, any part of a sequence
can be computed on its own, in any order. Source of ``mix``: hash-prospector (Wellons 2018) and its issue 19.
"""

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
MULTIPLIERS = 0x21F0AAAD, 0x735A2D97
SEED_WORDS = 0x243F6A88, 0x85A308D3  # the first digits of pi
UNIFORM_BITS = 24


def draw_bits(seed: int, *counters: Tensor) -> Tensor:
    """Random 32-bit words, as int64, of the broadcast shape of ``counters``.

    Counters are absorbed in their order and broadcast only when their turn comes, so small ones go first.

    Args:
        seed: In [0, 2^32).
        counters: Integers of any sign, taken modulo 2^32; at least one.
    """
    device = counters[0].device
    x, y = (torch.tensor(word, device=device) for word in SEED_WORDS)
    for counter in (torch.tensor(seed, device=device), *counters):
        x = _mix(x ^ (counter.long() & WORD))
        y = _mix((y + x) & WORD)
    return y


def draw_uniform(seed: int, *counters: Tensor) -> Tensor:
    """Random multiples of 2^-24 in [0, 1), in float32, which holds each of them exactly; see ``draw_bits``."""
    return (draw_bits(seed, *counters) >> (32 - UNIFORM_BITS)).float() * 2.0**-UNIFORM_BITS


def _mix(word: Tensor) -> Tensor:
    """``mix`` of 32-bit words."""
    first, second = MULTIPLIERS
    word = word ^ (word >> 16)
    word.mul_(first).bitwise_and_(WORD)
    word.bitwise_xor_(word >> 15)
    word.mul_(second).bitwise_and_(WORD)
    return word.bitwise_xor_(word >> 15)
