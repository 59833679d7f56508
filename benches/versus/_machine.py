"""What this machine can do at most, measured where a figure is a share of it."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch


@functools.cache
def flops(threads: int = 2) -> float:
    """float32 operations per second of the library's matrix product, 2,048 cubed: what multiply-adds reach here."""
    size = 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return 2 * size**3 / _median(lambda: a @ b)
    finally:
        torch.set_num_threads(before)


@functools.cache
def bandwidth() -> float:
    """Bytes per second that one core reads and writes in a copy of 256 MiB, both counted."""
    source = np.ones(2**26, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / _median(lambda: np.copyto(target, source))


def _median(call: Callable[[], object], repeats: int = 7) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
