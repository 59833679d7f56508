"""Conversions that the facades do on purpose before memory is lent to `amortix._core`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from amortix.errors import ArrayError, ConfigError

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]
#: What may be given where whole numbers are asked for: a list, a range, an integer array.
IntegersLike: TypeAlias = NDArray[Any] | Sequence[int]


class TensorLike(Protocol):
    """What is known of a tensor without importing its library."""

    def data_ptr(self) -> int:
        """Where it begins."""
        ...


#: Memory that is used where it lies: an array, or a tensor on the CPU.
Memory: TypeAlias = NDArray[Any] | TensorLike


def integers(name: str, values: IntegersLike) -> Integers:
    """``values`` as a one-dimensional, contiguous int64 array; a copy only where they are not that already.

    Raises:
        ArrayError: not one-dimensional, or not whole numbers that fit 64 bits.
    """
    array = np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArrayError(f"`{name}` must be whole numbers [n], not {array.dtype} of shape {list(array.shape)}")
    if array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
        raise ArrayError(f"`{name}` must fit int64, but its largest value is {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int64)


def empty(name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Memory for an output, not initialised.

    Raises:
        ArrayError: it cannot be allocated.
    """
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError, OverflowError) as error:
        raise ArrayError(f"`{name}` of shape {list(shape)} cannot be allocated: ask for less") from error


def whole(name: str, value: int, low: int, high: int = 2**63 - 1) -> int:
    """``value``, where it is a whole number from ``low`` to ``high``.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ConfigError(f"`{name}` must be a whole number from {low} to {high}, not {value!r}")
    return int(value)


def memory(name: str, values: Memory) -> NDArray[Any]:
    """The memory of a NumPy array, or of a tensor that lies on the CPU; never a copy.

    Raises:
        ArrayError: neither of these, or a tensor that needs a gradient.
    """
    if isinstance(values, np.ndarray):
        return values
    address = getattr(values, "data_ptr", None)
    if address is None:
        raise ArrayError(f"`{name}` must be a NumPy array or a tensor, not {type(values).__name__}")
    try:
        array = np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ArrayError(f"`{name}` must be a tensor on the CPU that needs no gradient ({error})") from None
    if array.size and array.ctypes.data != address():
        raise ArrayError(f"`{name}` cannot be used where it lies: pass a contiguous tensor on the CPU")
    return array
