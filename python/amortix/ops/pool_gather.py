"""Rows of some slots out of the fields of a state pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from amortix import _core
from amortix.ops import _cuda, _memory, _pool
from amortix.ops._operator import register


def pool_gather(fields: Mapping[str, Tensor], slots: Tensor, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Copy the rows of some slots out of the fields of a state pool, which may live on any device.

    `amortix.data.StatePool.gather` of tensors: a pool without fields of its own draws the slots and keeps tasks and
    ages, all of them few and small, and the fields stay where the learner computes. Not differentiable: a pool keeps
    values, not their history.

    Args:
        fields: by name, each ``[S, ...]``, contiguous, float32 or int64, rows of any width; S slots.
        slots: ``[N]`` int64, from 0 to S - 1, on the fields' device; N may be 0, and slots may repeat.
        names: of the fields to copy; None for all.

    Returns:
        By name, ``[N, ...]``; bit by bit what the fields hold.

    Raises:
        ArrayError: a shape, dtype, device or memory order does not fit; on the CPU also where a slot does not exist.
            On a CUDA device the slots are never looked at by the host, which would have to wait: a slot that does not
            exist gives a row of NaN, of -1 in int64 (without CuPy, torch's own device assertion).
        ConfigError: there is no such field.
    """
    taken = _pool.chosen("pool_gather", fields, fields if names is None else names)
    _pool.check_fields("pool_gather", taken, slots)
    with torch.no_grad():
        return dict(zip(taken, _operator(list(taken.values()), slots), strict=True))


def definition(fields: Sequence[Tensor], slots: Tensor) -> list[Tensor]:
    """The operation in plain PyTorch, for any device and dtype."""
    return [field.index_select(0, slots) for field in fields]


def _cpu(fields: Sequence[Tensor], slots: Tensor) -> list[Tensor]:
    results = _fake(fields, slots)
    given, taken = ([_pool.as_bytes(tensor) for tensor in tensors] for tensors in (fields, results))
    _core.pool_gather_into(given, _memory.lend(slots), taken)
    return results


def launch(fields: Sequence[Tensor], slots: Tensor) -> _cuda.Planned:
    """The launches of ``pool_gather.cu``, one for each field, and the outputs that they will fill."""
    results, slots = _fake(fields, slots), _cuda.lend(slots)
    pairs = zip(fields, results, strict=True)
    return tuple(_pool.launch("pool_gather", field, slots, out, len(field)) for field, out in pairs), results


def _fake(fields: Sequence[Tensor], slots: Tensor) -> list[Tensor]:
    return [field.new_empty(slots.shape[0], *field.shape[1:]) for field in fields]


_operator = register(
    "pool_gather",
    "(Tensor[] fields, Tensor slots) -> Tensor[]",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)
