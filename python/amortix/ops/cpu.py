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
    outputs = out_distance, out_x, out_y = _new(distance.shape), _new(kept_x.shape), _new(kept_y.shape)
    _core.context_merge_into(
        _lend(query),
        _lend(rows),
        _lend(values),
        _lend(relevance),
        _lend(distance),
        _lend(kept_x),
        _lend(kept_y),
        None if weight is None else _lend(weight),
        out_distance.numpy(),
        out_x.numpy(),
        out_y.numpy(),
    )
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
    outputs = mean, variance = _new((*query.shape[:2], residual.shape[3])), _new(query.shape[:2])
    _core.local_solve_into(
        _lend(query),
        _lend(kept_x),
        _lend(residual),
        _lend(distance),
        _lend(relevance),
        _lend(signal),
        _lend(noise),
        JITTER,
        mean.numpy(),
        variance.numpy(),
    )
    return outputs


def _new(shape: torch.Size | tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _lend(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; copied only where it is not contiguous or not aligned."""
    tensor = tensor.detach()
    aligned = tensor.data_ptr() % tensor.element_size() == 0
    return (tensor.contiguous() if aligned else tensor.clone(memory_format=torch.contiguous_format)).numpy()
