"""The amortised prior: closed forms, the evidence's fixed point, scale."""

import pytest
import torch

from amortix.moments import of_rows
from amortix.prior import EvidencePrior, solve

GROUP = torch.tensor([0, 1, 1, 1, 1])


def problem(count: int = 40, noise: float = 0.5, tasks: int = 4):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(tasks, 5, 1, generator=generator)
    features = torch.randn(tasks, count, 5, generator=generator)
    features[..., 0] = 1
    y = features @ weights + noise * torch.randn(tasks, count, 1, generator=generator)
    return weights, features, y, of_rows(features, y, torch.ones(tasks, count))


def test_solving_under_a_given_damping_is_ridge():
    _, features, y, moments = problem()
    damping = torch.tensor([0.1, 0.7]).log().expand(4, 2)
    posterior = solve(moments, GROUP, damping, None)
    ridge = torch.diag(torch.tensor([0.1, 0.7, 0.7, 0.7, 0.7]))
    expected = torch.linalg.solve(features.mT @ features + ridge, features.mT @ y)
    torch.testing.assert_close(posterior.mean, expected, atol=1e-4, rtol=1e-4)


def test_leverage_is_the_quadratic_form():
    _, features, _, moments = problem()
    posterior = solve(moments, GROUP, torch.zeros(4, 2), None)
    inverse = torch.linalg.inv(features.mT @ features + torch.eye(5))
    expected = torch.einsum("tmp,tpq,tmq->tm", features, inverse, features)
    torch.testing.assert_close(posterior.leverage(features), expected, atol=1e-4, rtol=1e-4)


def test_noise_is_the_residual_variance_per_degree_of_freedom():
    _, features, y, moments = problem()
    posterior = solve(moments, GROUP, torch.full((4, 2), -9.0), None)
    residual = (y - features @ posterior.mean).square().sum((1, 2)) / (40 - 5)
    torch.testing.assert_close(posterior.noise, residual, atol=1e-3, rtol=1e-3)


def test_the_untrained_prior_settles_where_the_evidence_is_highest():
    _, features, y, moments = problem(count=30)
    prior = EvidencePrior((0.0, 0.0), refinements=200)
    found = prior(moments, GROUP)

    def evidence(log_damping: torch.Tensor) -> torch.Tensor:
        """log p(y) with the noise at its best value, up to a constant."""
        scale = log_damping.exp()[:, GROUP]
        covariance = torch.eye(30) + (features / scale.unsqueeze(1)) @ features.mT
        fit = (y.mT @ torch.linalg.solve(covariance, y)).flatten()
        return -0.5 * torch.logdet(covariance) - 15 * fit.log()

    with torch.no_grad():
        best = evidence(found.log_damping)
        for group in range(2):
            for shift in (-0.5, 0.5):
                other = found.log_damping.clone()
                other[:, group] += shift
                assert bool((evidence(other) < best + 1e-3).all())


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_target_does_not_matter(scale: float):
    _, features, y, moments = problem()
    torch.manual_seed(0)
    prior = EvidencePrior((0.0, 0.0))
    torch.nn.init.normal_(prior.head[2].weight, std=0.1)  # as if trained
    ones = torch.ones(4, 40)
    with torch.no_grad():
        plain = prior(moments, GROUP).mean
        scaled = prior(of_rows(features, y * scale, ones), GROUP).mean / scale
    # The bound 1e-12 on energies is all that knows of a scale.
    torch.testing.assert_close(scaled, plain, atol=1e-3, rtol=1e-3)


def test_coincident_features_are_solved_all_the_same():
    generator = torch.Generator().manual_seed(2)
    column = torch.randn(1, 5000, 1, generator=generator)
    features = column.expand(-1, -1, 6).contiguous()
    moments = of_rows(features, 3 * column, torch.ones(1, 5000))
    posterior = solve(moments, torch.zeros(6, dtype=torch.int64), torch.full((1, 1), -14.0), None)
    prediction = features @ posterior.mean
    torch.testing.assert_close(prediction, 3 * column, atol=1e-2, rtol=1e-2)


def test_a_column_of_zeros_is_not_counted():
    _, features, y, _ = problem()
    torch.manual_seed(0)
    prior = EvidencePrior((0.0, 0.0))
    torch.nn.init.normal_(prior.head[2].weight, std=0.3)  # as if trained
    ones = torch.ones(4, 40)
    wide = torch.cat([features, torch.zeros(4, 40, 3)], 2)
    with torch.no_grad():
        plain = prior(of_rows(features, y, ones), GROUP)
        padded = prior(of_rows(wide, y, ones), torch.cat([GROUP, torch.ones(3, dtype=torch.int64)]))
    torch.testing.assert_close(padded.log_damping, plain.log_damping, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(padded.mean[:, :5], plain.mean, atol=1e-4, rtol=1e-4)
    assert float(padded.mean[:, 5:].abs().max()) == 0.0
