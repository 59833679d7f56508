"""How `learned_update` is launched: the tensors behind one another, and tables of where each begins."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortix.errors import ArrayError
from amortix.ops import _cuda
from amortix.ops._learned import UpdateNetwork, matrix

_CHUNK, _STRIP, _TILE = 1024, 32, 8  # parameters of a block, columns of a block, outputs of a layer side by side
_SHARED = 163 * 1024


def launch(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor],
    square: list[Tensor],
    row: list[Tensor],
    column: list[Tensor],
    step: Tensor,
    network: list[Tensor],
    rate: float,
    weight_decay: float,
) -> _cuda.Planned:
    """The launches of ``learned_update.cu`` and the outputs that they will fill."""
    learned = UpdateNetwork.of([_cuda.lend(tensor) for tensor in network])
    momenta, factored = len(learned.momentum_decay), len(learned.factored_decay)
    tables = _tables(tuple(matrix(one.shape) for one in parameters), step.device)
    lists = parameters, gradients, momentum, square, row, column
    p, g, m, v, a, b = (_flat(some, step) for some in lists)
    new_p, new_m, new_v, new_a, new_b = (torch.empty_like(one) for one in (p, m, v, a, b))
    chunks, inputs = len(tables.chunks), 4 + 2 * momenta + 6 * factored
    means, partial = _cuda.new(step, len(parameters), factored), _cuda.new(step, chunks, inputs)
    first, bias, *others = learned.layers
    widths = [-(-len(one) // _TILE) * _TILE for one in learned.layers[1::2]]
    folded, later = _cuda.new(step, len(parameters), inputs + 1, widths[0]), _later(others, widths, step)
    statistics, sizes = (new_a, new_b, means), tuple(map(np.int32, (chunks, p.numel(), momenta, factored)))
    widest, most = max(*widths, inputs), (inputs + 1) * widths[0] + later.numel()
    threads = next((count for count in (128, 64, 32) if 4 * (most + 4 * count * widest) <= _SHARED), 0)
    if threads == 0:
        raise ArrayError(f"learned_update: layers of {widths} outputs do not fit a block of the device; give narrower")

    def one(kernel: str, units: int, block: int, shared: int, *arguments: _cuda.Argument) -> _cuda.Launch:
        name = f"learned_update{kernel}"
        return _cuda.Launch("learned_update", name, min(units, _cuda.MAX_BLOCKS), block, 4 * shared, arguments)

    decays, count = learned.factored_decay, np.int32(factored)
    rows, strips = len(tables.row_tensor) * (factored > 0), len(tables.strips) * (factored > 0)
    launches = (
        one("_rows", rows, 128, 128, g, a, decays, tables.tensors, tables.row_tensor, new_a, np.int32(rows), count),
        one("_columns", strips, 256, 256, g, b, decays, tables.tensors, tables.strips, new_b, np.int32(strips), count),
        one("_means", means.numel(), 128, 128, new_a, tables.tensors, means, np.int32(len(parameters)), count),
        one("_state", chunks, 128, 256 * inputs, p, g, m, v, *statistics, learned.momentum_decay, learned.square_decay,
            tables.tensors, tables.chunks, new_m, new_v, partial, *sizes),
        one("_fold", len(parameters), 128, inputs, partial, first, bias, _cuda.lend(step), tables.tensors,
            tables.first_chunk, folded, *map(np.int32, (len(parameters), inputs, len(bias), widths[0]))),
        one("", chunks, threads, most + 4 * threads * widest, p, g, new_m, new_v, *statistics, learned.scale, folded,
            later, _integers(tuple(widths), step.device), tables.tensors, tables.chunks, new_p,
            *sizes, *map(np.int32, (len(widths), later.numel(), widest)), np.float32(rate), np.float32(weight_decay)),
    )  # fmt: skip
    filled = zip((new_p, new_m, new_v, new_a, new_b), (parameters, momentum, square, row, column), strict=True)
    return launches, tuple(_split(flat, like) for flat, like in filled)


@dataclass(frozen=True)
class _Tables:
    """What the kernels look up, int32."""

    tensors: Tensor
    row_tensor: Tensor
    strips: Tensor
    chunks: Tensor
    first_chunk: Tensor


@functools.lru_cache(maxsize=64)
def _integers(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Copied to the device once: a copy would wait for it, and could not be captured in a graph."""
    return torch.tensor(values, dtype=torch.int32, device=device)


@functools.lru_cache(maxsize=64)
def _tables(sizes: tuple[tuple[int, int], ...], device: torch.device) -> _Tables:
    """Made once for tensors of the same sizes."""
    begins = [[0, 0, 0]]
    for rows, columns in sizes:
        place, row, column = begins[-1]
        begins.append([place + rows * columns, row + rows, column + columns])
    if begins[-1][0] >= 2**31:
        raise ArrayError(f"learned_update: {begins[-1][0]} parameters; give fewer than 2³¹ at a time")
    tables = (
        tuple((begin[0], *size, *begin[1:]) for begin, size in zip(begins, sizes, strict=False)),
        tuple(i for i, (rows, _) in enumerate(sizes) for _ in range(rows)),
        tuple((i, at) for i, (_, columns) in enumerate(sizes) for at in range(0, columns, _STRIP)),
        tuple((i, at) for i, (rows, columns) in enumerate(sizes) for at in range(0, rows * columns, _CHUNK)),
        tuple(itertools.accumulate((-(-rows * columns // _CHUNK) for rows, columns in sizes), initial=0)),
    )
    return _Tables(*(_integers(table, device) for table in tables))


def _flat(tensors: list[Tensor], like: Tensor) -> Tensor:
    """The tensors behind one another, each in the order of its rows."""
    return torch.cat([like.new_empty(0), *(tensor.detach().reshape(-1) for tensor in tensors)])


def _split(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    parts = flat.split([one.numel() for one in like]) if like else ()
    return [part.view(one.shape) for part, one in zip(parts, like, strict=True)]


def _later(layers: list[Tensor], widths: list[int], like: Tensor) -> Tensor:
    """All layers but the first, ``[from + 1, to]`` with the bias last, ``from`` and ``to`` padded with zeros."""
    padded = [like.new_empty(0)]
    for place, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        matrix = weight.new_zeros(widths[place] + 1, widths[place + 1])
        matrix[: weight.shape[1], : len(bias)] = weight.T
        matrix[-1, : len(bias)] = bias
        padded.append(matrix.reshape(-1))
    return torch.cat(padded)
