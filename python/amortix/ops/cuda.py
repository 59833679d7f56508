"""The CUDA bodies: the kernels of ``cuda/``, compiled by NVRTC at first use and cached per device.

A ``launch_*`` function allocates the outputs with torch and states the whole launch without touching a GPU,
so the tests can run the same launch on the kernel emulator; `_run` carries it out on torch's current stream.
Without CuPy (the extra ``amortix[cuda]``) the definition runs on the device instead.
"""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortix.ops import reference

Argument = Tensor | np.int32 | np.float32 | np.uint64

OPTIONS = ("--std=c++17",)
"""What NVRTC is asked for. CuPy adds ``-ftz=true``: subnormal numbers become zero."""

_MAX_BLOCKS = 2**20
_NULL = np.uint64(0)
_STATIC_SHARED = 48 * 1024
_MERGE_CHUNK = 512
_SOLVE_STAGE = 8


@dataclass(frozen=True)
class Launch:
    """One kernel launch: blocks, threads per block, bytes of shared memory, arguments in order."""

    kernel: str
    grid: int
    block: int
    shared: int
    arguments: tuple[Argument, ...]


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
    """The CUDA body of `amortix.ops.context_merge`."""
    arguments = query, rows, values, relevance, distance, kept_x, kept_y, weight
    if not _has_cupy():
        return reference.context_merge(*arguments)
    launch, outputs = launch_context_merge(*arguments)
    _run(launch, query.device)
    return outputs


def launch_context_merge(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None,
) -> tuple[Launch, tuple[Tensor, Tensor, Tensor]]:
    """The launch of ``context_merge.cu`` and the outputs that it will fill."""
    tasks, queries, slots, columns = kept_x.shape
    batch, outputs = values.shape[1:]
    results = _new(distance, *distance.shape), _new(kept_x, *kept_x.shape), _new(kept_y, *kept_y.shape)
    inputs = map(_lend, (query, rows, values, relevance, distance, kept_x, kept_y))
    optional = _NULL if weight is None else _lend(weight)
    sizes = map(np.int32, (tasks, queries, batch, columns, outputs, slots))
    shared = 4 * (4 * slots + 2 * _MERGE_CHUNK + 2 + 2 * columns)
    grid = min(tasks * queries, _MAX_BLOCKS)
    return Launch("context_merge", grid, 128, shared, (*inputs, optional, *results, *sizes)), results


def local_solve(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """The CUDA body of `amortix.ops.local_solve`."""
    arguments = query, kept_x, residual, distance, relevance, signal, noise
    if not _has_cupy():
        return reference.local_solve(*arguments)
    launch, outputs = launch_local_solve(*arguments)
    _run(launch, query.device)
    return outputs


def launch_local_solve(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    noise: Tensor,
) -> tuple[Launch, tuple[Tensor, Tensor]]:
    """The launch of ``local_solve.cu`` and the outputs that it will fill."""
    tasks, queries, slots, columns = kept_x.shape
    outputs = residual.shape[3]
    results = _new(query, tasks, queries, outputs), _new(query, tasks, queries)
    inputs = map(_lend, (query, kept_x, residual, distance, relevance, signal, noise))
    sizes = map(np.int32, (tasks, queries, slots, columns, outputs))
    matrix = (slots + 1) * (slots + 2) // 2 + outputs * slots
    shared = 4 * (matrix + _SOLVE_STAGE * (slots + 1) + slots)
    block = min(512, -(-(slots + 1 + outputs) // 32) * 32)
    arguments = (*inputs, *results, *sizes, np.float32(reference.JITTER))
    return Launch("local_solve", min(tasks * queries, _MAX_BLOCKS), block, shared, arguments), results


def source(kernel: str) -> str:
    """The CUDA source of a kernel, as it is shipped in the package."""
    return (importlib.resources.files("amortix.ops") / "kernels" / f"{kernel}.cu").read_text(encoding="utf-8")


def _new(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def _lend(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()


@functools.cache
def _has_cupy() -> bool:
    return importlib.util.find_spec("cupy") is not None


class _TorchStream:
    """A torch stream under the CUDA stream protocol, which CuPy takes and older torch lacks."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream.cuda_stream


@functools.cache
def _compiled(kernel: str, device: int) -> Any:
    """The kernel for one device; call with that device current."""
    import cupy

    return cupy.RawModule(code=source(kernel), options=OPTIONS).get_function(kernel)


def _run(launch: Launch, device: torch.device) -> None:
    """Launch on torch's current stream of ``device``; returns before the kernel has run, as torch does."""
    if launch.grid == 0:
        return
    import cupy

    index = torch.cuda.current_device() if device.index is None else device.index
    stream = _TorchStream(torch.cuda.current_stream(index))
    with cupy.cuda.Device(index), cupy.cuda.Stream.from_external(stream):
        function = _compiled(launch.kernel, index)
        if launch.shared > _STATIC_SHARED:
            function.max_dynamic_shared_size_bytes = launch.shared
        lent = [cupy.asarray(value) if isinstance(value, Tensor) else value for value in launch.arguments]
        function((launch.grid,), (launch.block,), tuple(lent), shared_mem=launch.shared)
