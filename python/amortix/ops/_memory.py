"""Torch's own memory, lent to `amortix._core` for the length of one call.

The threads of the Rust bodies are those of Rust's own pool (``RAYON_NUM_THREADS``); the arithmetic is the same on any
number of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def new(*shape: int) -> Tensor:
    """An output of a Rust body, not yet filled."""
    return torch.empty(shape, dtype=torch.float32)


def lend(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; copied only where it is not contiguous or not aligned."""
    tensor = tensor.detach()
    aligned = tensor.data_ptr() % tensor.element_size() == 0
    return (tensor.contiguous() if aligned else tensor.clone(memory_format=torch.contiguous_format)).numpy()
