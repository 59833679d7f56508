"""The basis of inducing rows beside the Gaussian process that it stands for."""

import torch

from amortix.basis import Basis
from amortix.kernel import Kernel
from amortix.sample import Sample

NOISE = 0.3


def kernel(tasks: int, columns: int) -> Kernel:
    generator = torch.Generator().manual_seed(3)
    relevance = torch.randn(tasks, columns, generator=generator)
    signal = torch.tensor([0.5, 1.2]).log().expand(tasks, 2)
    rest = torch.tensor(0.7).log().expand(tasks), torch.zeros(tasks), torch.tensor(NOISE).log().expand(tasks)
    return Kernel(relevance, signal, *rest)


def covariance(kernel: Kernel, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Written out by differences."""
    squared = (kernel.relevance.exp()[:, None, None] * (a[:, :, None] - b[:, None]).square()).sum(3)
    rough, smooth = kernel.signal.exp()[:, :, None, None].unbind(1)
    return rough * (-squared.sqrt()).exp() + smooth * (-kernel.stretch.exp()[:, None, None] * squared / 2).exp()


def sample(x: torch.Tensor, y: torch.Tensor, capacity: int) -> Sample:
    tasks, rows, columns = x.shape
    full = Sample.zeros(tasks, capacity, columns)
    full.x[:, :rows], full.weight[:, :rows] = x, 1.0
    return Sample(full.x, full.y, full.weight, torch.full((tasks,), rows))


def data(rows: int = 20) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    x, query = (torch.randn(2, n, 3, generator=generator) for n in (rows, 7))
    return x, x[..., 0].sin(), query


def test_a_ridge_of_penalty_one_over_all_rows_is_the_gaussian_process():
    x, y, query = data()
    one = kernel(2, 3)
    basis = Basis.of(sample(x, y, 20), one, 20)
    phi, at = basis.features(x, one).double(), basis.features(query, one).double()
    inner = phi.mT @ phi + torch.eye(20, dtype=torch.float64)
    mean = at @ torch.linalg.solve(inner, phi.mT @ y.double().unsqueeze(2))
    spread = NOISE * (at * torch.linalg.solve(inner, at.mT).mT).sum(2) + NOISE * basis.beyond(at.float(), one)

    gram = covariance(one, x, x).double() + NOISE * torch.eye(20, dtype=torch.float64)
    towards = covariance(one, query, x).double()
    exact = towards @ torch.linalg.solve(gram, y.double().unsqueeze(2))
    variance = 1.7 - (towards * torch.linalg.solve(gram, towards.mT).mT).sum(2)
    # The basis carries a jitter of 1e-4 of the variance that the process does not.
    torch.testing.assert_close(mean, exact, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(spread, variance, atol=2e-3, rtol=2e-3)


def test_features_reproduce_covariances_with_the_inducing_rows():
    x, y, query = data()
    one = kernel(2, 3)
    basis = Basis.of(sample(x, y, 20), one, 8)
    found = basis.features(query, one) @ basis.features(x[:, :8], one).mT * NOISE
    torch.testing.assert_close(found, covariance(one, query, x[:, :8]), atol=2e-3, rtol=2e-3)


def test_more_inducing_rows_extend_the_features_of_fewer():
    x, y, query = data()
    one = kernel(2, 3)
    few, many = (Basis.of(sample(x, y, 20), one, size).features(query, one) for size in (6, 15))
    torch.testing.assert_close(many[..., :6], few, atol=1e-4, rtol=1e-4)


def test_rows_that_are_not_there_give_features_of_zero():
    x, y, query = data(rows=5)
    one = kernel(2, 3)
    padded = Basis.of(sample(x, y, 12), one, 9).features(query, one)
    alone = Basis.of(sample(x, y, 5), one, 5).features(query, one)
    assert not bool(padded[..., 5:].any())
    torch.testing.assert_close(padded[..., :5], alone)


def test_what_lies_beyond_the_basis_is_nothing_on_its_rows_and_everything_far_away():
    x, y, _ = data()
    one = kernel(2, 3)
    basis = Basis.of(sample(x, y, 20), one, 8)
    on = basis.beyond(basis.features(x[:, :8], one), one)
    far = basis.beyond(basis.features(x + 1e3, one), one)
    assert float(on.max()) < 2e-3 * 1.7 / NOISE
    torch.testing.assert_close(far, torch.full_like(far, 1.7 / NOISE), rtol=1e-4, atol=1e-4)
