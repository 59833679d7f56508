"""The CUDA bodies: the kernels of ``cuda/``, compiled by NVRTC at first use and cached per device.

The ``launch`` of an operation allocates the outputs with torch and states every kernel launch without touching a GPU,
so the tests can run the same launches on the kernel emulator; `on_device` carries them out on torch's current stream.
Without CuPy (the extra ``amortix[cuda]``) the definition runs on the device instead.
"""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Argument = Tensor | np.int32 | np.int64 | np.float32 | np.float64 | np.uint64

OPTIONS = ("--std=c++17",)
"""What NVRTC is asked for. CuPy adds ``-ftz=true``: subnormal numbers become zero."""

MAX_BLOCKS = 2**20
"""Blocks of the largest grid; they stride over the work."""

NULL = np.uint64(0)
"""The pointer of an absent tensor."""

MAX_SHARED = 163 * 1024
"""Bytes of shared memory that a block can have on compute capability 8.0."""

_STATIC_SHARED = 48 * 1024


@dataclass(frozen=True)
class Launch:
    """One kernel launch.

    Attributes:
        file: of the kernel, ``cuda/FILE.cu``.
        kernel: one of the kernels in it.
        grid: blocks; nothing is launched where it is 0.
        block: threads of a block.
        shared: bytes of dynamic shared memory.
        arguments: in the order of the kernel's parameters.
    """

    file: str
    kernel: str
    grid: int
    block: int
    shared: int
    arguments: tuple[Argument, ...]


Planned = tuple[tuple[Launch, ...], Any]
"""Launches, in the order in which they run, and the outputs that they will fill."""


def source(file: str) -> str:
    """The CUDA source of an operation, as it is shipped in the package."""
    return (importlib.resources.files("amortix.ops") / "kernels" / f"{file}.cu").read_text(encoding="utf-8")


def on_device(definition: Callable[..., Any], launch: Callable[..., Planned | None]) -> Callable[..., Any]:
    """The CUDA body of an operation, from its definition and the plan of its launches; None: no kernel holds it."""

    def body(*arguments: Any) -> Any:
        if not _has_cupy():
            return definition(*arguments)
        planned = launch(*arguments)
        if planned is None:
            return definition(*arguments)
        launches, outputs = planned
        for one in launches:
            _run(one)
        return outputs

    return body


def new(like: Tensor, *shape: int) -> Tensor:
    """An output of a kernel, not yet filled."""
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def lend(tensor: Tensor) -> Tensor:
    """The tensor as kernels take it: contiguous, without history."""
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
def _module(file: str, device: int) -> Any:
    """The kernels of a file for one device; call with that device current."""
    import cupy

    return cupy.RawModule(code=source(file), options=OPTIONS)


@functools.cache
def _kernel(file: str, kernel: str, device: int) -> Any:
    return _module(file, device).get_function(kernel)


def _run(launch: Launch) -> None:
    """Launch on torch's current stream of the tensors' device; returns before the kernel has run, as torch does."""
    if launch.grid == 0:
        return
    import cupy

    device = next(value.device for value in launch.arguments if isinstance(value, Tensor))
    index = torch.cuda.current_device() if device.index is None else device.index
    stream = _TorchStream(torch.cuda.current_stream(index))
    with cupy.cuda.Device(index), cupy.cuda.Stream.from_external(stream):
        function = _kernel(launch.file, launch.kernel, index)
        if launch.shared > _STATIC_SHARED:
            function.max_dynamic_shared_size_bytes = launch.shared
        lent = [cupy.asarray(value) if isinstance(value, Tensor) else value for value in launch.arguments]
        function((launch.grid,), (launch.block,), tuple(lent), shared_mem=launch.shared)
