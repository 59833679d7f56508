"""Torch's own memory, lent to `amortix._core` for the length of one call, and used again once nobody holds it.

The threads of the Rust bodies are those of Rust's own pool (``RAYON_NUM_THREADS``); the arithmetic is the same on any
number of them.
"""

from __future__ import annotations

import math
import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

LEAST = 1 << 17
"""Bytes of the smallest output whose memory is kept: the system takes back what is larger as soon as it is freed."""

MOST = 1 << 26
"""Bytes that are kept at most while nobody holds them."""

# Latest first. Its methods are atomic, and nothing else is needed: an output may be freed on any thread at any time.
_kept: deque[np.ndarray] = deque()


def new(*shape: int) -> Tensor:
    """An output of a Rust body, not yet filled.

    A page that is new to the process costs more time than a body takes to fill it, so that outputs get the memory of
    earlier ones that are gone.
    """
    size = 4 * math.prod(shape)
    if size < LEAST:
        return torch.empty(shape, dtype=torch.float32)
    memory = _take(size)
    # Whatever shares the output's memory holds this view, and frees it when the last is gone.
    view = memory.reshape(shape)
    weakref.finalize(view, _give_back, memory).atexit = False
    return torch.from_numpy(view)


def lend(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; copied only where it is not contiguous or not aligned."""
    tensor = tensor.detach()
    aligned = tensor.data_ptr() % tensor.element_size() == 0
    return (tensor.contiguous() if aligned else tensor.clone(memory_format=torch.contiguous_format)).numpy()


def _take(size: int) -> np.ndarray:
    """Memory of that many bytes, aligned as torch's is."""
    for _ in range(len(_kept)):
        try:
            memory = _kept.popleft()
        except IndexError:
            break
        if memory.nbytes == size:
            return memory
        _kept.append(memory)
    return torch.empty(size // 4, dtype=torch.float32).numpy()


def _give_back(memory: np.ndarray) -> None:
    if memory.nbytes > MOST:
        return
    _kept.appendleft(memory)
    while sum(one.nbytes for one in tuple(_kept)) > MOST:
        _kept.pop()
