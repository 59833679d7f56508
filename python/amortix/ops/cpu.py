"""The Rust bodies: torch's own memory is lent to `amortix._core` for the length of one call.

The threads are those of Rust's own pool (``RAYON_NUM_THREADS``); the arithmetic is the same on any number of
them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.ops.reference import JITTER


def context_merge(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The Rust body of `amortix.ops.context_merge`."""
    outputs = _new(distance.shape), _new(kept_x.shape), _new(kept_y.shape)
    inputs = map(_lend, (query, rows, values, relevance, distance, kept_x, kept_y))
    _core.context_merge_into(*inputs, None if weight is None else _lend(weight), *map(_lend, outputs))
    return outputs


def local_solve(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """The Rust body of `amortix.ops.local_solve`."""
    outputs = _new((*query.shape[:2], residual.shape[3])), _new(query.shape[:2])
    inputs = map(_lend, (query, kept_x, residual, distance, relevance, signal, noise))
    _core.local_solve_into(*inputs, JITTER, *map(_lend, outputs))
    return outputs


def _new(shape: torch.Size | tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _lend(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; copied only where it is not contiguous or not aligned."""
    tensor = tensor.detach()
    aligned = tensor.data_ptr() % tensor.element_size() == 0
    return (tensor.contiguous() if aligned else tensor.clone(memory_format=torch.contiguous_format)).numpy()
