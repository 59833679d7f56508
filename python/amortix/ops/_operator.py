"""How an operation is put together: its checks, its bodies, its registration with torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amortix.errors import ArrayError
from amortix.ops._cuda import Planned, on_device


def register(
    name: str,
    schema: str,
    definition: Callable[..., Any],
    *,
    cpu: Callable[..., Any],
    launch: Callable[..., Planned | None],
    fake: Callable[..., Any],
    mutates: tuple[str, ...] = (),
    backward: Callable[..., Any] | None = None,
) -> Any:
    """The operator ``amortix::name``: one node for `torch.compile`, whose body the tensors' device picks.

    Args:
        name: of the operation, of its Rust function and of its ``.cu`` file.
        schema: of the arguments and results, as `torch.library.custom_op` takes it.
        definition: plain PyTorch; runs wherever no other body does.
        cpu: the Rust body.
        launch: plans the CUDA body; None where the kernel does not hold such sizes, and the definition runs.
        fake: empty results of the right shapes.
        mutates: the arguments that are written into, as the schema marks them.
        backward: from a context whose ``saved_tensors`` are the tensors among the arguments, and the gradients with
            respect to the results, to those with respect to the arguments.
    """
    operator = torch.library.custom_op(f"amortix::{name}", definition, mutates_args=mutates, schema=schema)
    operator.register_kernel("cpu", cpu)
    operator.register_kernel("cuda", on_device(definition, launch))
    operator.register_fake(fake)
    if backward is not None:
        operator.register_autograd(backward, setup_context=_save_tensors)
    return operator


def _save_tensors(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*(value for value in inputs if value is None or isinstance(value, Tensor)))


def check(operation: str, arguments: dict[str, tuple[Tensor, str]]) -> dict[str, int]:
    """Refuse, by name, a tensor whose dtype, device or shape does not fit the axes read so far; returns the sizes.

    Args:
        operation: named in the message.
        arguments: each with its axes, such as ``"T M D"``; a letter has one size everywhere, a number is one.
    """
    device = next(iter(arguments.values()))[0].device
    sizes: dict[str, int] = {}
    for name, (tensor, axes) in arguments.items():
        letters = axes.split()
        sizes |= {letter: int(letter) for letter in letters if letter.isdigit()}
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
    return sizes


def check_kept(operation: str, sizes: dict[str, int], most: int) -> None:
    """Refuse sizes of a retained context for which the kernels are not made."""
    if not 1 <= sizes["K"] <= most or sizes["D"] < 1 or sizes["O"] < 1:
        given = f"K={sizes['K']}, D={sizes['D']}, O={sizes['O']}"
        raise ArrayError(f"{operation}: {given}; give 1 ≤ K ≤ {most}, D ≥ 1 and O ≥ 1")
