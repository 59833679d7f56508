"""Merging states of shards: what they must have in common, and what of it counts once.

Moments are sums, whatever the order, but only of features under one kernel. A kernel is inferred from the first rows of
a stream, so streams apart would infer kernels apart: shards begin with the latent of one state that has seen the first
rows, and keep it. Where the sample of those rows is data that every step reads anew, it is the same in all shards, and
once in what they are merged into.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from amortix.batch import State
from amortix.errors import LearnerError
from amortix.sample import Sample

_INFERRED, _SAMPLE = ("kernel_", "basis_"), "sample_"  # how the tensors of a latent are called in a state


def lend(like: State, fresh: State) -> State:
    """A fresh state with the kernel and the sample of ``like``, if it has them, to be inferred no more."""
    if not _named(like, _SAMPLE):
        return fresh
    latent = _named(like, *_INFERRED) | Sample.from_memory(like.memory).closed().memory()
    return State(fresh.value, fresh.age, {**fresh.memory, **latent})


def merged_latent(one: State, other: State) -> dict[str, Tensor]:
    """What two states infer of a task's kernel, to be inferred no more: the sample if it is the same, else all rows.

    Raises:
        LearnerError: their kernels differ.
    """
    inferred = _named(one, *_INFERRED)
    if not _same(inferred, other.memory):
        raise LearnerError("states of different kernels cannot be merged: begin each shard by init(like=first state)")
    return inferred | _union(Sample.from_memory(one.memory), Sample.from_memory(other.memory)).closed().memory()


def nearest(one: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The K nearest of two times K rows: distances ``[T, M, K]``, inputs ``[T, M, K, D]``, values ``[T, M, K, O]``."""
    kept = one[0].shape[2]
    distance, x, y = (torch.cat(pair, 2) for pair in zip(one, other, strict=True))
    distance, order = distance.sort(dim=2, stable=True)
    x, y = (t.gather(2, order[..., :kept, None].expand(-1, -1, -1, t.shape[3])) for t in (x, y))
    return distance[..., :kept].contiguous(), x, y


def _named(state: State, *prefixes: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.memory.items() if name.startswith(prefixes)}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(mine, other[name]) for name, mine in one.items())


def _union(one: Sample, other: Sample) -> Sample:
    rows = (one.x, one.y, one.weight), (other.x, other.y, other.weight)
    if all(torch.equal(a, b) for a, b in zip(*rows, strict=True)):
        return one
    x, y, weight = (torch.cat(pair, 1) for pair in zip(*rows, strict=True))
    return Sample(x, y, weight, one.rows + other.rows)
