"""The gradient of a task's loss, as the outer loss sees it: to be differentiated, or a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor], Tensor]
"""From θ ``[T, P]`` to the loss of each task ``[T]``."""

Gradient: TypeAlias = Callable[[Loss, Tensor], tuple[Tensor, Tensor]]
"""From a loss and θ to the losses ``[T]``, detached, and their gradients ``[T, P]``."""


def second_order(loss: Loss, value: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiable where gradients are recorded: the outer loss sees how θ changes its own gradient."""
    return _gradient(loss, value, torch.is_grad_enabled())


def first_order(loss: Loss, value: Tensor) -> tuple[Tensor, Tensor]:
    """A constant to the outer loss."""
    return _gradient(loss, value, False)


def _gradient(loss: Loss, value: Tensor, differentiable: bool) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        at = value if differentiable and value.requires_grad else value.detach().requires_grad_()
        losses = loss(at)
        (gradient,) = torch.autograd.grad(losses.sum(), at, create_graph=differentiable)
    return losses.detach(), gradient
