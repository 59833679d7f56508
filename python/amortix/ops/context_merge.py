"""Merge a mini-batch into the context that every query retains."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, check_kept, register

MAX_KEPT = 256
"""The most rows that a query can retain (K)."""

_CHUNK = 512  # rows that a block of the kernel takes at a time


def context_merge(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge a mini-batch into the context that every query retains: the K nearest rows seen so far.

    The distance is ``Σ_D relevance · (query − row)²``. Of equally near rows the one kept earlier wins, then
    the lower index. Rows of weight zero and rows at a distance that is not finite are never taken. Merging is
    exact: the order of batches matters only between equally near rows. Pure: the inputs stay untouched. Not
    differentiable, by definition of a choice: no gradient reaches the inputs; use `squared_distance` of the
    kept rows for that.

    Args:
        query: ``[T, M, D]`` float32, as are all others; T, M and B may be 0.
        rows: ``[T, B, D]``.
        values: ``[T, B, O]``, what is kept with each row.
        relevance: ``[T, D]``, not negative.
        distance: ``[T, M, K]``, K ≤ `MAX_KEPT`, ascending, +inf in empty slots: all +inf at first, later the
            result.
        kept_x: ``[T, M, K, D]``.
        kept_y: ``[T, M, K, O]``.
        weight: ``[T, B]``, or None for all ones; beyond zero or not its value does not matter.

    Returns:
        New ``distance``, ``kept_x`` and ``kept_y``; empty slots hold +inf, zeros and zeros. All bodies agree
        bit by bit (CUDA flushes subnormal numbers to zero).

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.
    """
    _check(query, rows, values, relevance, distance, kept_x, kept_y, weight)
    with torch.no_grad():
        return _operator(query, rows, values, relevance, distance, kept_x, kept_y, weight)


def context_merge_(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None = None,
) -> None:
    """`context_merge`, written into ``distance``, ``kept_x`` and ``kept_y``.

    For a stream whose earlier states nobody keeps: on the CPU a query that takes no row is not touched, where
    `context_merge` copies all that is retained. Elsewhere, and for what is not contiguous, the result is copied back.

    Raises:
        ArrayError: as `context_merge`; then nothing has been written.
    """
    _check(query, rows, values, relevance, distance, kept_x, kept_y, weight)
    state = distance, kept_x, kept_y
    with torch.no_grad():
        if all(kept.is_cpu and kept.is_contiguous() and kept.data_ptr() % 4 == 0 for kept in state):
            _merge(query, rows, values, relevance, state, weight)
        else:
            for kept, new in zip(state, _operator(query, rows, values, relevance, *state, weight), strict=True):
                kept.copy_(new)


def _check(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None,
) -> None:
    arguments = {"query": (query, "T M D"), "rows": (rows, "T B D"), "values": (values, "T B O")}
    arguments |= {"relevance": (relevance, "T D"), "distance": (distance, "T M K")}
    arguments |= {"kept_x": (kept_x, "T M K D"), "kept_y": (kept_y, "T M K O")}
    if weight is not None:
        arguments["weight"] = (weight, "T B")
    check_kept("context_merge", check("context_merge", arguments), MAX_KEPT)


def definition(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operation in plain PyTorch, for any device and floating dtype."""
    fresh = squared_distance(query, rows, relevance)
    taken = fresh < math.inf  # false for NaN too
    if weight is not None:
        taken = taken & (weight > 0)[:, None, :]
    fresh = torch.where(taken, fresh, math.inf)
    merged, index = torch.cat([distance, fresh], -1).sort(dim=-1, stable=True)
    merged, index = merged[..., : distance.shape[-1]], index[..., : distance.shape[-1]]
    occupied = (merged < math.inf)[..., None]
    return (
        merged.clone(),
        torch.where(occupied, _pick(kept_x, rows, index), 0.0),
        torch.where(occupied, _pick(kept_y, values, index), 0.0),
    )


def squared_distance(query: Tensor, rows: Tensor, relevance: Tensor) -> Tensor:
    """Squared distances ``[T, M, B]``: ``query [T, M, D]``, ``rows [T, B, D]``, ``relevance [T, D]``.

    ``((relevance · δ) · δ)`` with ``δ = query − row``, summed in column order with every product and sum
    rounded on its own. This order is part of the definition: all bodies follow it, so they agree to the last
    bit and break ties alike.
    """
    total = query.new_zeros(query.shape[0], query.shape[1], rows.shape[1])
    for column in range(query.shape[2]):
        delta = query[:, :, None, column] - rows[:, None, :, column]
        total = total + relevance[:, None, None, column] * delta * delta
    return total


def _pick(kept: Tensor, fresh: Tensor, index: Tensor) -> Tensor:
    """Gather ``[T, M, K, C]`` by index into the K kept ``[T, M, K, C]``, then B fresh ``[T, B, C]``."""
    tasks, queries, slots, columns = kept.shape
    old = kept.gather(2, index.clamp_max(slots - 1)[..., None].expand(-1, -1, -1, columns))
    if fresh.shape[1] == 0:
        return old
    position = (index - slots).clamp_min(0).reshape(tasks, queries * slots, 1).expand(-1, -1, columns)
    new = fresh.gather(1, position).reshape(kept.shape)
    return torch.where((index < slots)[..., None], old, new)


def _cpu(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    state = _copy(distance), _copy(kept_x), _copy(kept_y)
    _merge(query, rows, values, relevance, state, weight)
    return state


def _merge(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    state: tuple[Tensor, Tensor, Tensor],
    weight: Tensor | None,
) -> None:
    """The Rust body, which writes into ``state``."""
    distance, kept_x, kept_y = (kept.detach().numpy() for kept in state)
    _core.context_merge_into(
        _memory.lend(query),
        _memory.lend(rows),
        _memory.lend(values),
        _memory.lend(relevance),
        distance,
        kept_x,
        kept_y,
        None if weight is None else _memory.lend(weight),
    )


def _copy(kept: Tensor) -> Tensor:
    return kept.detach().clone(memory_format=torch.contiguous_format)


def launch(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None,
) -> _cuda.Planned:
    """The launch of ``context_merge.cu`` and the outputs that it will fill."""
    tasks, queries, slots, columns = kept_x.shape
    batch, outputs = values.shape[1:]
    results = _cuda.new(distance, *distance.shape), _cuda.new(kept_x, *kept_x.shape), _cuda.new(kept_y, *kept_y.shape)
    inputs = map(_cuda.lend, (query, rows, values, relevance, distance, kept_x, kept_y))
    optional = _cuda.NULL if weight is None else _cuda.lend(weight)
    sizes = map(np.int32, (tasks, queries, batch, columns, outputs, slots))
    shared = 4 * (4 * slots + 2 * _CHUNK + 2 + 2 * columns)
    grid = min(tasks * queries, _cuda.MAX_BLOCKS)
    arguments = (*inputs, optional, *results, *sizes)
    return (_cuda.Launch("context_merge", "context_merge", grid, 128, shared, arguments),), results


def _fake(query, rows, values, relevance, distance, kept_x, kept_y, weight):
    return distance.new_empty(distance.shape), kept_x.new_empty(kept_x.shape), kept_y.new_empty(kept_y.shape)


_operator = register(
    "context_merge",
    "(Tensor query, Tensor rows, Tensor values, Tensor relevance, Tensor distance, Tensor kept_x, Tensor kept_y,"
    " Tensor? weight) -> (Tensor, Tensor, Tensor)",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)
