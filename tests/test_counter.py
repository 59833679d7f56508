"""Counter-based random numbers of meta-training, against SplitMix64 in whole numbers and against their laws."""

from __future__ import annotations

import math

import numpy as np
import torch

from amortix.meta_optim import counter


def test_bits_are_those_of_splitmix() -> None:
    mask = (1 << 64) - 1

    def mixed(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & mask
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB & mask
        return word ^ (word >> 31)

    step = 0x9E3779B97F4A7C15
    for seed, stream in ((0, 0), (3, 5), (-7, 2**40), (2**62, -3)):
        key = mixed(mixed(seed * step + 1 & mask) + stream * step & mask)
        wanted = [mixed(key + i * step & mask) for i in (1, 2, 3)]
        got = counter.bits(torch.tensor(seed), stream, 3).numpy().view(np.uint64)
        assert got.tolist() == wanted


def test_draws_have_their_distributions() -> None:
    """Means within five standard errors: 1/√12 and 1 over the root of their number."""
    count, seed = 100_000, torch.tensor(1)
    uniform, normal = counter.uniform(seed, 0, (count,)), counter.normal(seed, 1, (count,))
    assert 0 < float(uniform.min()) <= float(uniform.max()) < 1
    assert abs(float(uniform.mean()) - 0.5) < 5 / math.sqrt(12 * count)
    assert abs(float(normal.mean())) < 5 / math.sqrt(count)
    assert abs(float(normal.square().mean()) - 1) < 5 * math.sqrt(2 / count)
    below = counter.below(3, seed, 2, count)
    assert below.unique().tolist() == [0, 1, 2]
