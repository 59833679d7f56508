"""What `gpu.py` measures: for each file of ``cuda/`` arguments of a real size, and the least that has to be done.

To add an operation, write a function that returns its `Work` and list it in `WORKS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from amortix.ops import UpdateState


@dataclass(frozen=True)
class Work:
    """One call of an operation.

    Attributes:
        operation: its name in ``torch.ops.amortix`` and of its ``.cu`` file.
        sizes: what the call works on, in words.
        arguments: of the operator.
        bytes: of device memory that must be read and written at least once.
        flop: float32 operations that the formula takes, a multiply-add being two; copies and integers count nothing.
    """

    operation: str
    sizes: str
    arguments: tuple[Any, ...]
    bytes: float
    flop: float


Make = Callable[[str, bool], Work]


def context_merge(device: str, quick: bool) -> Work:
    queries, batch, columns, outputs, kept = (64 if quick else 10_000), 512, 16, 1, 64
    normal = _normals(device)
    query, rows, values = normal(1, queries, columns), normal(1, batch, columns), normal(1, batch, outputs)
    relevance = torch.full((1, columns), 1 / columns, device=device)
    distance = torch.full((1, queries, kept), math.inf, device=device)
    state = distance, distance.new_zeros(1, queries, kept, columns), distance.new_zeros(1, queries, kept, outputs)
    width = columns + outputs + 1
    moved = 2 * 4 * queries * kept * width + 4 * batch * (width - 1) + 4 * queries * columns
    sizes = f"{queries:,} queries, {batch} rows × {columns}, K = {kept}, empty"
    arguments = query, rows, values, relevance, *state, None
    return Work("context_merge", sizes, arguments, moved, 4.0 * queries * batch * columns)


def local_solve(device: str, quick: bool) -> Work:
    queries, columns, outputs, kept = (64 if quick else 10_000), 16, 1, 64
    normal = _normals(device)
    query, scale = normal(1, queries, columns), torch.ones(1, device=device)
    kept_x = query[:, :, None] + normal(1, queries, kept, columns)
    distance = torch.ones(1, queries, kept, device=device)
    relevance = torch.full((1, columns), 1 / columns, device=device)
    signal = torch.full((1, 2), 0.5, device=device)
    kernel = relevance, signal, scale, 0.1 * scale
    arguments = query, kept_x, normal(1, queries, kept, outputs), distance, *kernel
    moved = 4 * queries * (kept * (columns + outputs + 1) + columns + outputs + 1)
    flop = queries * (2.0 * kept**2 * columns + kept**3 / 3 + kept**2 * (1 + outputs))
    return Work("local_solve", f"{queries:,} queries, K = {kept}, {columns} columns", arguments, moved, flop)


def curvature_solve(device: str, quick: bool) -> Work:
    tasks, size = (4 if quick else 1_024), 64
    jacobian = _normals(device)(tasks, 2 * size, size)
    second = jacobian.mT @ jacobian / (2 * size)
    arguments = (second + second.mT) / 2, torch.full((tasks, size), 0.1, device=device), jacobian[:, 0, :, None]
    flop = tasks * (size**3 / 3 + 2.0 * size**2)
    return Work("curvature_solve", f"{tasks:,} tasks, S = {size}", arguments, 4 * tasks * size * (size + 3), flop)


def curvature_update(device: str, quick: bool) -> Work:
    tasks, rows, size = (4 if quick else 1_024), 32, 64
    jacobian, count = _normals(device)(tasks, rows, size), torch.full((tasks,), 100.0, device=device)
    second = torch.eye(size, device=device).repeat(tasks, 1, 1)
    moved = 4 * tasks * (2 * size**2 + rows * size)
    sizes = f"{tasks:,} tasks × {rows} rows, S = {size}"
    return Work("curvature_update", sizes, (second, count, jacobian, None), moved, 1.0 * tasks * rows * size**2)


def learned_update(device: str, quick: bool) -> Work:
    shape, count, widths = ((4, 6) if quick else (250, 400)), (3 if quick else 100), (39, 32, 32, 2)
    normal = _normals(device)
    parameters, gradients = ([normal(*shape) for _ in range(count)] for _ in range(2))
    state = UpdateState.zeros(parameters, 3, 3)
    layers = [0.2 * normal(*size) for before, after in pairwise(widths) for size in ((after, before), (after,))]
    decays, scale = torch.tensor([0.9, 0.99, 0.999], device=device), torch.full((2,), 1e-3, device=device)
    network = [decays, decays[2:], decays, scale, *layers]
    lists = state.momentum, state.square, state.row, state.column
    arguments = parameters, gradients, *lists, torch.zeros(count, device=device), network, 1.0, 0.0
    numbers = count * shape[0] * shape[1]
    # Statistics read the gradients first; then parameters, gradients and four moments are read, all but them written.
    moved, flop = 4 * numbers * (1 + 6 + 5), 2.0 * numbers * (28 * 32 + 32 * 32 + 32 * 2)
    return Work("learned_update", f"{numbers:,} parameters in {count} tensors, 39-32-32-2", arguments, moved, flop)


def log_evidence(device: str, quick: bool) -> Work:
    tasks, rows, columns = (2 if quick else 132), (16 if quick else 190), 16
    normal, ones = _normals(device), torch.ones(tasks, device=device)
    data = normal(tasks, rows, columns), normal(tasks, rows, 1), torch.ones(tasks, rows, device=device)
    wide = [torch.full((tasks, width), level, device=device) for width, level in ((columns, -2.0), (2, -1.0))]
    logs = *wide, -ones, -ones, -ones
    # The factor, its inverse and the inverse of the matrix, and distances there and back.
    flop = tasks * (rows**3 + 3.0 * rows**2 * columns)
    sizes = f"{tasks} tasks × {rows} rows × {columns}"
    return Work("log_evidence", sizes, (*data, *logs), 4 * tasks * rows * (columns + 2), flop)


def pool_gather(device: str, quick: bool) -> Work:
    fields, slots, moved, sizes = _pool(device, quick)
    return Work("pool_gather", sizes, (fields, slots), moved, 0.0)


def pool_scatter(device: str, quick: bool) -> Work:
    fields, slots, moved, sizes = _pool(device, quick)
    values = [torch.ones(len(slots), *field.shape[1:], dtype=field.dtype, device=device) for field in fields]
    return Work("pool_scatter", sizes, (fields, slots, values), moved, 0.0)


def prefix_gradient(device: str, quick: bool) -> Work:
    theta, x, y = _linear(device, quick)
    arguments, numbers = (theta, x, y, None, x.shape[1]), x.numel()
    return Work("prefix_gradient", _sizes(x), arguments, 4 * (2 * numbers + y.numel()), 4.0 * numbers)


def prefix_gradient_backward(device: str, quick: bool) -> Work:
    theta, x, y = _linear(device, quick)
    arguments, numbers = (x.unsqueeze(3), theta, x, y, None), x.numel()
    return Work("prefix_gradient_backward", _sizes(x), arguments, 4 * (2 * numbers + y.numel()), 4.0 * numbers)


def two_term_update(device: str, quick: bool) -> Work:
    arguments, tasks, size, rank = _states(device, quick)
    moved, flop = 4 * tasks * size * (10 + rank), tasks * size * (20.0 + 4 * rank)
    return Work("two_term_update", f"{tasks:,} states of {size}, R = {rank}", arguments, moved, flop)


def two_term_update_backward(device: str, quick: bool) -> Work:
    arguments, tasks, size, rank = _states(device, quick)
    moved, flop = 4 * tasks * size * (15 + 2 * rank), tasks * size * (40.0 + 12 * rank)
    sizes = f"{tasks:,} states of {size}, R = {rank}"
    return Work("two_term_update_backward", sizes, (*arguments[:3], *arguments), moved, flop)


def task_linear(device: str, quick: bool) -> Work:
    tasks, rows, columns = (16 if quick else 4_096), 128, 32
    ids = torch.arange(tasks, device=device)
    settings = [columns, columns], [0.5, 0.5], [1.0, 1.0], 0.0, [1.0, 1.0], 1.0
    moved = 4 * tasks * rows * (columns + 1)
    # A pair of normals takes 60 operations: a logarithm, a root, a sine and a cosine.
    flop = tasks * rows * (30.0 * (columns + 1) + 2 * columns)
    sizes = f"{tasks:,} tasks × {rows} rows × {columns}"
    return Work("task_linear", sizes, (ids, ids, 0, rows, 0, *settings), moved, flop)


WORKS: tuple[Make, ...] = (
    context_merge,
    curvature_solve,
    curvature_update,
    learned_update,
    local_solve,
    log_evidence,
    pool_gather,
    pool_scatter,
    prefix_gradient,
    prefix_gradient_backward,
    task_linear,
    two_term_update,
    two_term_update_backward,
)


def _linear(device: str, quick: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters, inputs and targets of linear tasks."""
    tasks, rows, columns = (4 if quick else 4_096), 128, 32
    normal = _normals(device)
    return normal(tasks, columns, 1), normal(tasks, rows, columns), normal(tasks, rows)


def _sizes(x: Tensor) -> str:
    return "{:,} tasks × {} rows × {}".format(*x.shape)


def _states(device: str, quick: bool) -> tuple[tuple[Tensor, ...], int, int, int]:
    """Arguments of an update of T states of P parameters with R factors."""
    tasks, size, rank = (4 if quick else 65_536), 64, 4
    normal, age = _normals(device), torch.full((tasks,), 10.0, device=device)
    matrices = [normal(tasks, size) for _ in range(7)]
    return (*matrices, normal(tasks, size, rank), age / 10, age, age), tasks, size, rank


def _pool(device: str, quick: bool) -> tuple[list[Tensor], Tensor, float, str]:
    """Half of the slots of states of 4 KiB with an age each; larger together than any cache."""
    height, width = (64 if quick else 131_072), 1024
    fields = [torch.ones(height, width, device=device), torch.ones(height, dtype=torch.int64, device=device)]
    generator = torch.Generator().manual_seed(0)
    slots = torch.randperm(height, generator=generator)[: height // 2].to(device)
    moved = len(slots) * (2 * (4 * width + 8) + 2 * 8)
    return fields, slots, moved, f"{len(slots):,} of {height:,} states of 4 KiB"


def _normals(device: str) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator).to(device)
