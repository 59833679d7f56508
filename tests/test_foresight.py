"""Rows foretold by their neighbours, beside the closed form of leaving one out."""

import math

import torch

from amortix.foresight import _density, foresee
from amortix.kernel import Kernel
from amortix.ops.local_solve import JITTER

NOISE = 0.2


def kernel(tasks: int, columns: int, relevance: float = 0.0) -> Kernel:
    level = torch.tensor([0.6, 0.9]).log().expand(tasks, 2)
    flat = torch.zeros(tasks)
    return Kernel(torch.full((tasks, columns), relevance), level, flat, flat - 3, flat + math.log(NOISE))


def rows(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, count, 2, generator=generator)
    y = (3 * x[..., :1]).sin() + 0.3 * torch.randn(2, count, 1, generator=generator)
    return x, y


def left_out(one: Kernel, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Rasmussen and Williams 2006, equation 5.12, each row's log density up to a constant."""
    squared = (one.relevance.exp()[:, None, None] * (x[:, :, None] - x[:, None]).square()).sum(3).double()
    gram = 0.6 * (-squared.sqrt()).exp() + 0.9 * (-squared / 2).exp()
    gram = gram + (NOISE + JITTER * 1.5) * torch.eye(x.shape[1], dtype=torch.float64)
    inverse = torch.linalg.inv(gram)
    variance = 1 / inverse.diagonal(dim1=1, dim2=2)
    error = (inverse @ y.double()).squeeze(2) * variance
    return -0.5 * (error.square() / variance + variance.log())


def test_with_all_others_as_neighbours_it_is_leaving_one_out():
    x, y = rows(20)
    density, count = _density(kernel(2, 2), x, y, torch.ones(2, 20), slice(0, None, 2))
    expected = left_out(kernel(2, 2), x, y)[:, ::2].sum(1)
    torch.testing.assert_close(density.double(), expected, rtol=1e-3, atol=1e-3)
    assert count.tolist() == [10, 10]


def test_no_row_reads_its_own_target_even_among_equals():
    x, y = rows(6)
    x = x[:, :1].expand(-1, 6, -1).contiguous()
    density, _ = _density(kernel(2, 2), x, y, torch.ones(2, 6), slice(None))
    torch.testing.assert_close(density.double(), left_out(kernel(2, 2), x, y).sum(1), rtol=1e-3, atol=1e-3)


def test_rows_of_weight_zero_are_neither_foretold_nor_read():
    x, y = rows(30)
    weight = torch.ones(2, 30)
    weight[:, 20:] = 0
    with_more, count = _density(kernel(2, 2), x, y, weight, slice(None))
    alone, _ = _density(kernel(2, 2), x[:, :20], y[:, :20], torch.ones(2, 20), slice(None))
    torch.testing.assert_close(with_more, alone)
    assert count.tolist() == [20, 20]


def test_a_kernel_learns_which_column_matters_and_foretells_fresh_rows_better():
    x, y = rows(600)
    start = kernel(2, 2, relevance=-2.0)
    moved = foresee(start, x, y, torch.ones(2, 600), ascent=20)
    assert bool((moved.relevance[:, 0] > moved.relevance[:, 1] + 1).all())
    fresh = (*rows(600, seed=1), torch.ones(2, 600), slice(None))
    assert bool((_density(moved, *fresh)[0] > _density(start, *fresh)[0] + 30).all())


def test_one_step_is_a_kernel_too():
    x, y = rows(300)
    moved = foresee(kernel(2, 2), x, y, torch.ones(2, 300), ascent=1)
    assert all(bool(tensor.isfinite().all()) for tensor in moved.memory().values())
    assert not torch.equal(moved.relevance, kernel(2, 2).relevance)


def test_tasks_do_not_see_each_other():
    x, y = rows(300)
    both = foresee(kernel(2, 2), x, y, torch.ones(2, 300), ascent=4)
    second = foresee(kernel(1, 2), x[1:], y[1:], torch.ones(1, 300), ascent=4)
    torch.testing.assert_close(both.relevance[1:], second.relevance, rtol=1e-3, atol=1e-3)
