"""Rows of linear tasks, drawn on the device where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError, ConfigError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import register

_BLOCK = 128
_TILE = 256  # most rows that a block of the kernel draws at a time
_SHARED = 48 * 1024  # bytes of shared memory that a tile of wide rows may take, as far as 8 rows do

_Range = tuple[float, float]


class LinearTasks(Protocol):
    """The settings of a linear family: `amortix.data.Linear` is one."""

    @property
    def dim(self) -> tuple[int, int]:
        """Columns of a task, uniform."""
        ...

    @property
    def noise(self) -> _Range:
        """Standard deviation, log-uniform."""
        ...

    @property
    def condition(self) -> _Range:
        """Of the covariance of the inputs, log-uniform."""
        ...

    @property
    def sparsity(self) -> float:
        """Probability that a column has weight zero."""
        ...

    @property
    def weight_scale(self) -> _Range:
        """Standard deviation of the weights, log-uniform."""
        ...

    @property
    def query_scale(self) -> float:
        """What query inputs are multiplied by."""
        ...


def task_linear(family: LinearTasks, tasks: Tensor, steps: Tensor, rows: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Context rows of each (task, step) of a linear family: `amortix.data.TaskSampler.context`, on any device.

    A pure function of (seed, task, step, element): the numbers are those of the sampler, whatever the device. On a CUDA
    device nothing is copied from or to the host and nothing waits (without CuPy, the sampler's rows are copied). There
    integers and normals, and with them all rows of families whose settings are fixed, are equal to the last bit; a
    setting drawn log-uniformly (noise, condition, weight scale) is a power in double precision, rounded to float32,
    whose last bit differs where the two libraries' differ and the rounding falls between: about once in 2²⁷ draws.
    Subnormal numbers are zero there.

    Args:
        family: the distribution over tasks.
        tasks: ``[T]`` int64, any numbers.
        steps: ``[T]`` int64, any numbers.
        rows: B.
        seed: from 0 to 2⁶⁴ - 1.

    Returns:
        x ``[T, B, D]``, zero beyond a task's own columns, and y ``[T, B]``, float32 on the device of ``tasks``.

    Raises:
        ArrayError: ``tasks`` or ``steps`` has another shape, dtype or device.
        ConfigError: a setting is out of range.
    """
    _check("steps", steps, tasks)
    x, y = _sample(family, tasks, steps, 0, rows, seed)
    return x, y


def task_linear_query(
    family: LinearTasks, tasks: Tensor, points: int, *, seed: int, draw: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Query rows of each task, disjoint from every context: `amortix.data.TaskSampler.query`, on any device.

    Args:
        family: the distribution over tasks.
        tasks: ``[T]`` int64, any numbers.
        points: M.
        seed: from 0 to 2⁶⁴ - 1.
        draw: another number gives other rows.

    Returns:
        x ``[T, M, D]``, y ``[T, M]`` and signal ``[T, M, 1]``, the noise-free mean; as exact as `task_linear`.

    Raises:
        ArrayError: ``tasks`` has another shape or dtype.
        ConfigError: a setting is out of range.
    """
    x, y, signal = _sample(family, tasks, None, draw, points, seed)
    return x, y, signal


def _check(name: str, tensor: Tensor, tasks: Tensor) -> None:
    if tensor.dtype != torch.int64 or tensor.shape != tasks.shape or tensor.dim() != 1 or tensor.device != tasks.device:
        raise ArrayError(
            f"task_linear: {name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}; "
            f"give torch.int64 [T] of tasks on {tasks.device}"
        )


def _sample(
    family: LinearTasks, tasks: Tensor, steps: Tensor | None, draw: int, rows: int, seed: int
) -> Sequence[Tensor]:
    _check("tasks", tasks, tasks)
    if not 0 <= seed < 2**64 or rows < 0:
        raise ConfigError(f"task_linear: seed {seed}, {rows} rows; give a seed from 0 to 2⁶⁴ - 1 and at least no rows")
    settings = (family.dim, family.noise, family.condition, family.sparsity, family.weight_scale, family.query_scale)
    _sampler(seed, *settings)
    # torch's integers have a sign.
    return _operator(tasks, steps, draw, rows, seed - (seed >> 63 << 64), *settings)


def definition(
    tasks: Tensor,
    steps: Tensor | None,
    draw: int,
    rows: int,
    seed: int,
    dim: Sequence[int],
    noise: Sequence[float],
    condition: Sequence[float],
    sparsity: float,
    weight_scale: Sequence[float],
    query_scale: float,
) -> list[Tensor]:
    """The operation by the Rust sampler, through memory of the host, for any device."""
    sampler = _sampler(seed % 2**64, dim, noise, condition, sparsity, weight_scale, query_scale)
    results = _fake(tasks.cpu(), steps, draw, rows, seed, dim)
    arrays = [tensor.numpy() for tensor in results]
    if steps is None:
        sampler.query_into(_memory.lend(tasks.cpu()), draw, *arrays)
    else:
        sampler.context_into(_memory.lend(tasks.cpu()), _memory.lend(steps.cpu()), *arrays)
    return [tensor.to(tasks.device) for tensor in results]


def _sampler(
    seed: int,
    dim: Sequence[int],
    noise: Sequence[float],
    condition: Sequence[float],
    sparsity: float,
    weight_scale: Sequence[float],
    query_scale: float,
) -> _core.TaskSampler:
    try:
        return _core.TaskSampler.linear(
            seed,
            dim=(dim[0], dim[1]),
            noise=(noise[0], noise[1]),
            condition=(condition[0], condition[1]),
            sparsity=sparsity,
            weight_scale=(weight_scale[0], weight_scale[1]),
            query_scale=query_scale,
        )
    except (OverflowError, TypeError) as error:
        raise ConfigError(f"task_linear: a setting has the wrong type or sign: {error}") from error


def launch(
    tasks: Tensor,
    steps: Tensor | None,
    draw: int,
    rows: int,
    seed: int,
    dim: Sequence[int],
    noise: Sequence[float],
    condition: Sequence[float],
    sparsity: float,
    weight_scale: Sequence[float],
    query_scale: float,
) -> _cuda.Planned:
    """The launches of ``task_linear.cu``: settings of the tasks, their weights and axes, rows; and the outputs."""
    count, columns = len(tasks), dim[1]
    results = _fake(tasks, steps, draw, rows, seed, dim)
    given = _cuda.lend(tasks)
    dims = torch.empty(count, dtype=torch.int32, device=tasks.device)
    noises, spreads, weights = _cuda.new(tasks, count), _cuda.new(tasks, count), _cuda.new(tasks, count, 1 + columns)
    variances, axes, factor = (_cuda.NULL,) * 3
    if condition[1] != 1.0:
        variances = torch.empty(count, columns, dtype=torch.float64, device=tasks.device)
        axes = torch.empty(count, columns, columns, dtype=torch.float64, device=tasks.device)
        factor = _cuda.new(tasks, count, columns, columns)
    buffers = 1 if condition[1] == 1.0 else 2
    tile = tile_of(rows, columns, buffers)

    sizes, key = (np.int32(count), np.int32(columns)), np.int64(seed)
    ranges = [np.float64(end) for pair in (noise, condition, weight_scale) for end in pair]
    settled = (given, dims, noises, spreads, variances, *sizes, key, *map(np.int32, dim), *ranges)
    drawn = (given, dims, spreads, variances, weights, axes, factor, *sizes, key, np.float64(sparsity))
    signal = results[2] if steps is None else _cuda.NULL
    at = _cuda.NULL if steps is None else _cuda.lend(steps)
    shape = (np.int32(count), np.int32(rows), np.int32(columns), np.int32(tile))
    last = (key, np.int64(draw), np.float32(query_scale))
    observed = (given, at, dims, noises, weights, factor, *results[:2], signal, *shape, *last)

    each = 1 if condition[1] == 1.0 else columns
    shared = 4 * tile * ((columns | 1) * buffers + 1)
    wanted = rows and count
    grids = -(-count * each // _BLOCK) if wanted else 0, count if wanted else 0, count * -(-rows // tile)
    return (
        _plan("task_linear_settings", grids[0], 0, settled),
        _plan("task_linear_draw", grids[1], 8 * columns, drawn),
        _plan("task_linear_rows", grids[2], shared, observed),
    ), results


def tile_of(rows: int, columns: int, buffers: int) -> int:
    """Rows that a block draws at a time: as many as fit the shared memory of a launch unasked, but 8 where few do."""
    tile = _TILE
    while tile > 8 and 4 * tile * ((columns | 1) * buffers + 1) > _SHARED:
        tile //= 2
    return max(1, min(tile, rows))


def _plan(kernel: str, grid: int, shared: int, arguments: tuple[_cuda.Argument, ...]) -> _cuda.Launch:
    return _cuda.Launch("task_linear", kernel, min(grid, _cuda.MAX_BLOCKS), _BLOCK, shared, arguments)


def _fake(tasks, steps, draw, rows, seed, dim, *rest) -> list[Tensor]:
    count = tasks.shape[0]
    shapes = [(count, rows, dim[1]), (count, rows), (count, rows, 1)]
    return [tasks.new_empty(shape, dtype=torch.float32) for shape in (shapes if steps is None else shapes[:2])]


_operator = register(
    "task_linear",
    "(Tensor tasks, Tensor? steps, int draw, int rows, int seed, int[] dim, float[] noise, float[] condition,"
    " float sparsity, float[] weight_scale, float query_scale) -> Tensor[]",
    definition,
    cpu=definition,
    launch=launch,
    fake=_fake,
)
