"""Rows into some slots of the fields of a state pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from amortix import _core
from amortix.ops import _cuda, _memory, _pool
from amortix.ops._operator import register


def pool_scatter(fields: Mapping[str, Tensor], slots: Tensor, values: Mapping[str, Tensor]) -> None:
    """Write rows into some slots of the fields of a state pool, which may live on any device.

    `amortix.data.StatePool.scatter_from` of tensors; see `pool_gather`. The one operation that writes into its
    arguments: the tensors in ``fields`` change, all others stay. Not differentiable: values are kept without history.

    Args:
        fields: by name, each ``[S, ...]``, contiguous, float32 or int64, rows of any width; S slots.
        slots: ``[N]`` int64, different, from 0 to S - 1, on the fields' device; N may be 0.
        values: by name, ``[N, ...]`` of the field's dtype; fields that are not named stay. Copied first where they are
            not contiguous.

    Raises:
        ArrayError: a shape, dtype, device or memory order does not fit; on the CPU also where a slot does not exist or
            is given twice. Nothing has changed then. On a CUDA device the slots are never looked at by the host,
            which would have to wait: rows for a slot that does not exist are left out (without CuPy, torch's own
            device assertion), and of a slot that is given twice each number comes from either row.
        ConfigError: there is no such field.
    """
    taken = _pool.chosen("pool_scatter", fields, values)
    _pool.check_fields("pool_scatter", taken, slots)
    _pool.check_values("pool_scatter", taken, slots, values)
    with torch.no_grad():
        _operator(list(taken.values()), slots, list(values.values()))


def definition(fields: Sequence[Tensor], slots: Tensor, values: Sequence[Tensor]) -> None:
    """The operation in plain PyTorch, for any device and dtype."""
    for field, rows in zip(fields, values, strict=True):
        field.index_copy_(0, slots, rows)


def _cpu(fields: Sequence[Tensor], slots: Tensor, values: Sequence[Tensor]) -> None:
    lent = _memory.lend(slots)
    for field in fields[:1]:
        _pool.check_different("pool_scatter", lent, len(field))
    rows = [_pool.as_bytes(tensor.contiguous()) for tensor in values]
    _core.pool_scatter_into(rows, lent, [_pool.as_bytes(field) for field in fields])


def launch(fields: Sequence[Tensor], slots: Tensor, values: Sequence[Tensor]) -> _cuda.Planned:
    """The launches of ``pool_scatter.cu``, one for each field."""
    slots = _cuda.lend(slots)
    pairs = zip(fields, map(_cuda.lend, values), strict=True)
    return tuple(_pool.launch("pool_scatter", rows, slots, field, len(field)) for field, rows in pairs), None


def _fake(fields: Sequence[Tensor], slots: Tensor, values: Sequence[Tensor]) -> None:
    return None


_operator = register(
    "pool_scatter",
    "(Tensor(a!)[] fields, Tensor slots, Tensor[] values) -> ()",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
    mutates=("fields",),
)
