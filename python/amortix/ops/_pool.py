"""What `pool_gather` and `pool_scatter` share: which fields and slots they take, and how a copy of rows is launched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
import torch
from torch import Tensor

from amortix.errors import ArrayError, ConfigError
from amortix.ops import _cuda

_THREADS = 256
_PIECE = 1024  # words or vectors of a row that a block of the kernels copies at a time
_WIDE = 16  # bytes of a vector
_DTYPES = (torch.float32, torch.int64)


def chosen(operation: str, fields: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The named ones of the fields.

    Raises:
        ConfigError: there is no such field.
    """
    names = list(names)
    for name in names:
        if name not in fields:
            raise ConfigError(f"{operation}: there is no field {name!r}: there are {', '.join(fields)}")
    return {name: fields[name] for name in names}


def check_fields(operation: str, fields: Mapping[str, Tensor], slots: Tensor) -> None:
    """Refuse, by name, slots or fields that the bodies do not take."""
    if slots.dtype != torch.int64 or slots.dim() != 1:
        raise ArrayError(f"{operation}: slots is {slots.dtype} {list(slots.shape)}; give torch.int64 [N]")
    height = next((len(field) for field in fields.values() if field.dim()), 0)
    for name, field in fields.items():
        if field.dtype not in _DTYPES or field.device != slots.device:
            raise ArrayError(
                f"{operation}: field {name!r} is {field.dtype} on {field.device}; "
                f"give torch.float32 or torch.int64 on {slots.device}"
            )
        if field.dim() == 0 or len(field) != height:
            raise ArrayError(f"{operation}: field {name!r} has shape {list(field.shape)}; expected [{height}, ...]")
        if not field.is_contiguous():
            raise ArrayError(f"{operation}: field {name!r} is not contiguous; keep a pool's fields whole")


def check_values(operation: str, fields: Mapping[str, Tensor], slots: Tensor, values: Mapping[str, Tensor]) -> None:
    """Refuse, by name, values that are not one row of its field for each slot."""
    for name, field in fields.items():
        given, shape = values[name], [len(slots), *field.shape[1:]]
        if given.dtype != field.dtype or given.device != field.device or list(given.shape) != shape:
            raise ArrayError(
                f"{operation}: values of {name!r} are {given.dtype} {list(given.shape)} on {given.device}; "
                f"expected {field.dtype} {shape} on {field.device}"
            )


def check_different(operation: str, slots: np.ndarray, height: int) -> None:
    """Refuse slots that do not exist or come twice.

    By NumPy, not torch: torch's threads would still spin for the next job when those of Rust begin to copy.
    """
    if slots.size and not 0 <= slots.min() <= slots.max() < height:
        outside = slots[(slots < 0) | (slots >= height)]
        raise ArrayError(f"{operation}: slots holds {outside[0]}, but the pool has {height} slots")
    taken = np.zeros(height, np.bool_)
    taken[slots] = True
    if np.count_nonzero(taken) != slots.size:
        twice = np.flatnonzero(np.bincount(slots) > 1)[0]
        raise ArrayError(f"{operation}: slots holds {twice} twice; give different slots")


def as_bytes(tensor: Tensor) -> np.ndarray:
    """A contiguous tensor's own memory, ``[rows, bytes of a row]``."""
    return tensor.detach().numpy().reshape(len(tensor), prod(tensor.shape[1:])).view(np.uint8)


def launch(kernel: str, source: Tensor, slots: Tensor, target: Tensor, height: int) -> _cuda.Launch:
    """One launch that copies rows of one field, in vectors where sizes and addresses allow."""
    size = source.element_size() * prod(source.shape[1:])
    wide = all(number % _WIDE == 0 for number in (size, source.data_ptr(), target.data_ptr()))
    width = size // (_WIDE if wide else 4)
    lanes = 1 << (min(width, _THREADS) - 1).bit_length() if width else 1
    units = -(-len(slots) // (_THREADS // lanes)) * -(-width // _PIECE)
    sizes = map(np.int32, (height, len(slots), width, lanes))
    words = [tensor.detach().view(-1).view(torch.int32) for tensor in (source, target)]
    arguments = (words[0], slots, words[1], *sizes)
    grid = min(units, _cuda.MAX_BLOCKS)
    return _cuda.Launch(kernel, f"{kernel}_wide" if wide else kernel, grid, _THREADS, 0, arguments)
