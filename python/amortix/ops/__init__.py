"""Operations of the refinement step: one function each, and the tensors' device picks the body.

CPU tensors run in Rust (`amortix.ops.cpu`), CUDA tensors in this project's kernels where CuPy is installed
(`amortix.ops.cuda`), and everything else in the definition, plain PyTorch (`amortix.ops.reference`). Each
operation is a `torch.library.custom_op` with a fake, so that `torch.compile` sees one node. Axis letters:
`amortix.batch`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortix.errors import ArrayError
from amortix.ops import cpu, cuda, reference
from amortix.ops.reference import log_evidence, squared_distance

__all__ = ["MAX_KEPT", "context_merge", "local_solve", "log_evidence", "squared_distance"]

MAX_KEPT = 256
"""The most rows that a query can retain (K)."""


def context_merge(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge a mini-batch into the context that every query retains: the K nearest rows seen so far.

    The distance is ``Σ_D relevance · (query − row)²``. Of equally near rows the one kept earlier wins, then
    the lower index. Rows of weight zero and rows at a distance that is not finite are never taken. Merging is
    exact: the order of batches matters only between equally near rows. Pure: the inputs stay untouched. Not
    differentiable, by definition of a choice: no gradient reaches the inputs; use `squared_distance` of the
    kept rows for that.

    Args:
        query: ``[T, M, D]`` float32, as are all others; T, M and B may be 0.
        rows: ``[T, B, D]``.
        values: ``[T, B, O]``, what is kept with each row.
        relevance: ``[T, D]``, not negative.
        distance: ``[T, M, K]``, K ≤ `MAX_KEPT`, ascending, +inf in empty slots: all +inf at first, later the
            result.
        kept_x: ``[T, M, K, D]``.
        kept_y: ``[T, M, K, O]``.
        weight: ``[T, B]``, or None for all ones; beyond zero or not its value does not matter.

    Returns:
        New ``distance``, ``kept_x`` and ``kept_y``; empty slots hold +inf, zeros and zeros. All bodies agree
        bit by bit (CUDA flushes subnormal numbers to zero).

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.
    """
    arguments = {"query": (query, "T M D"), "rows": (rows, "T B D"), "values": (values, "T B O")}
    arguments |= {"relevance": (relevance, "T D"), "distance": (distance, "T M K")}
    arguments |= {"kept_x": (kept_x, "T M K D"), "kept_y": (kept_y, "T M K O")}
    if weight is not None:
        arguments["weight"] = (weight, "T B")
    _check("context_merge", arguments)
    with torch.no_grad():
        return _context_merge(query, rows, values, relevance, distance, kept_x, kept_y, weight)


def local_solve(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """Predict every query by a Gaussian process on the K rows that it retains.

    Kernel ``k(a, b) = signal · exp(−√(Σ_D relevance · (a − b)²))``, Matérn-1/2. With ``k = k(query, rows)``
    and ``A = k(rows, rows) + (noise + JITTER · signal) · I``: ``mean = kᵀ A⁻¹ residual`` and ``variance =
    signal − kᵀ A⁻¹ k``, at least 0, of the latent function: the noise of a new observation is not in it. No
    row retained: 0 and ``signal``. Where an argument requires a gradient the definition runs, which is
    differentiable once, in all but ``distance``.

    Args:
        query: ``[T, M, D]`` float32, as are all others; T and M may be 0.
        kept_x: ``[T, M, K, D]``, K ≤ `MAX_KEPT`.
        residual: ``[T, M, K, O]``, the targets of the rows less their prior mean.
        distance: ``[T, M, K]``; a slot at +inf is empty and excluded exactly, other values do not matter.
        relevance: ``[T, D]``, not negative.
        signal: ``[T]``, above 0.
        noise: ``[T]``, variance, not negative.

    Returns:
        Mean ``[T, M, O]`` and variance ``[T, M]``.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1.
    """
    arguments = {"query": (query, "T M D"), "kept_x": (kept_x, "T M K D"), "residual": (residual, "T M K O")}
    arguments |= {"distance": (distance, "T M K"), "relevance": (relevance, "T D")}
    arguments |= {"signal": (signal, "T"), "noise": (noise, "T")}
    _check("local_solve", arguments)
    tensors = [tensor for tensor, _ in arguments.values()]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return reference.local_solve(*tensors)
    return _local_solve(*tensors)


def _check(operation: str, arguments: dict[str, tuple[Tensor, str]]) -> None:
    """Refuse, by name, a tensor whose dtype, device or shape does not fit the axes read so far."""
    device = next(iter(arguments.values()))[0].device
    sizes: dict[str, int] = {}
    for name, (tensor, axes) in arguments.items():
        letters = axes.split()
        if tensor.dtype != torch.float32 or tensor.device != device:
            raise ArrayError(
                f"{operation}: {name} is {tensor.dtype} on {tensor.device}; give torch.float32 on {device}"
            )
        expected = [sizes.get(letter, letter) for letter in letters]
        agree = len(letters) == tensor.dim() and all(
            sizes.setdefault(letter, size) == size for letter, size in zip(letters, tensor.shape, strict=True)
        )
        if not agree:
            wanted = ", ".join(map(str, expected))
            raise ArrayError(f"{operation}: {name} has shape {list(tensor.shape)}; expected [{wanted}]")
    if not 1 <= sizes["K"] <= MAX_KEPT or sizes["D"] < 1 or sizes["O"] < 1:
        given = f"K={sizes['K']}, D={sizes['D']}, O={sizes['O']}"
        raise ArrayError(f"{operation}: {given}; give 1 ≤ K ≤ {MAX_KEPT}, D ≥ 1 and O ≥ 1")


_MERGE = (
    "(Tensor query, Tensor rows, Tensor values, Tensor relevance, Tensor distance, Tensor kept_x,"
    " Tensor kept_y, Tensor? weight) -> (Tensor, Tensor, Tensor)"
)
_SOLVE = (
    "(Tensor query, Tensor kept_x, Tensor residual, Tensor distance, Tensor relevance, Tensor signal,"
    " Tensor noise) -> (Tensor, Tensor)"
)

_context_merge = torch.library.custom_op(
    "amortix::context_merge", reference.context_merge, mutates_args=(), schema=_MERGE
)
_context_merge.register_kernel("cpu", cpu.context_merge)
_context_merge.register_kernel("cuda", cuda.context_merge)

_local_solve = torch.library.custom_op("amortix::local_solve", reference.local_solve, mutates_args=(), schema=_SOLVE)
_local_solve.register_kernel("cpu", cpu.local_solve)
_local_solve.register_kernel("cuda", cuda.local_solve)


@_context_merge.register_fake
def _(query, rows, values, relevance, distance, kept_x, kept_y, weight):
    return distance.new_empty(distance.shape), kept_x.new_empty(kept_x.shape), kept_y.new_empty(kept_y.shape)


@_local_solve.register_fake
def _(query, kept_x, residual, distance, relevance, signal, noise):
    tasks, queries, _ = query.shape
    return query.new_empty(tasks, queries, residual.shape[3]), query.new_empty(tasks, queries)
