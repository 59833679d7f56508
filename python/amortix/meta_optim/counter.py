"""Random numbers as pure functions of (seed, stream, element), for one slot at a time or many under `torch.func.vmap`.

References:
    Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014): the finaliser of SplitMix64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEP, _FIRST, _SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_UNIT = 2.0**-24


def bits(seed: Tensor, stream: Tensor | int, count: int) -> Tensor:
    """``[count]`` int64 with all bits random.

    Args:
        seed: an int64 scalar.
        stream: tells draws of one seed apart, an int64 scalar.
        count: how many.
    """
    key = _mixed(_mixed(seed * _STEP + 1) + torch.as_tensor(stream) * _STEP)
    return _mixed(key + torch.arange(1, count + 1) * _STEP)


def below(limit: int, seed: Tensor, stream: Tensor | int, count: int) -> Tensor:
    """``[count]`` int64 in 0 .. limit − 1."""
    return _shifted(bits(seed, stream, count), 2) % limit


def uniform(seed: Tensor, stream: Tensor | int, shape: tuple[int, ...]) -> Tensor:
    """Uniform float32 in (0, 1)."""
    top = _shifted(bits(seed, stream, math.prod(shape)), 40)
    return ((top.float() + 0.5) * _UNIT).reshape(shape)


def normal(seed: Tensor, stream: Tensor | int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 by Box and Muller's transform."""
    size = math.prod(shape)
    pairs = uniform(seed, stream, (2, size))
    return ((-2 * pairs[0].log()).sqrt() * (2 * math.pi * pairs[1]).cos()).reshape(shape)


def _mixed(word: Tensor) -> Tensor:
    word = (word ^ _shifted(word, 30)) * _FIRST
    word = (word ^ _shifted(word, 27)) * _SECOND
    return word ^ _shifted(word, 31)


def _shifted(word: Tensor, by: int) -> Tensor:
    """To the right, zeros coming in from the left."""
    return (word >> by) & (2 ** (64 - by) - 1)
