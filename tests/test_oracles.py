"""Oracles of Gaussian processes and mixtures against closed forms, and what `evaluate` makes of them."""

import numpy as np
import pytest
import torch
from scipy import stats

from amortix import regimes
from amortix.batch import Batch
from amortix.data import Gmm, Gp, Linear, TaskSampler
from amortix.evaluation import evaluate
from amortix.oracles import AbstractOracle, oracle

IDS = np.arange(6)
GP = Gp(dim=(1, 3), kernel="matern32", amplitude=(0.5, 2.0), noise=(0.1, 0.5))
GMM = Gmm(dim=(1, 3), classes=(2, 4), variance=(0.1, 0.5), mean_scale=(0.5, 2.0))


def seen(sampler: TaskSampler, steps: int = 4, batch: int = 10) -> tuple[AbstractOracle, np.ndarray, np.ndarray]:
    """The oracle after some mini-batches, with all their rows in float64."""
    best = oracle(sampler, IDS)
    assert best is not None
    batches = [sampler.context(IDS, np.full(len(IDS), step), batch) for step in range(steps)]
    for x, y in batches:
        best.see(Batch(torch.from_numpy(x), torch.from_numpy(y)))
    x, y = (np.concatenate(parts, axis=1).astype(np.float64) for parts in zip(*batches, strict=True))
    return best, x, y


def matern32(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    r = np.sqrt(3) * np.linalg.norm(a[:, None] - b[None], axis=-1) / length
    return (1 + r) * np.exp(-r)


def test_the_gp_oracle_conditions_the_joint_normal():
    sampler = TaskSampler(GP, seed=1)
    best, x, y = seen(sampler)
    query, *_ = sampler.query(IDS, 5)
    prediction = best.predict(torch.from_numpy(query))
    assert prediction.variance is not None
    found, variance = prediction.mean.numpy(), prediction.variance.numpy()
    parameters, noise = sampler.parameters(IDS).astype(np.float64), sampler.noise(IDS).astype(np.float64)
    for task, (length, amplitude) in enumerate(parameters):
        between = amplitude**2 * matern32(query[task].astype(np.float64), x[task], length)
        covariance = amplitude**2 * matern32(x[task], x[task], length) + noise[task] ** 2 * np.eye(40)
        np.testing.assert_allclose(found[task, :, 0], between @ np.linalg.solve(covariance, y[task]), atol=1e-5)
        left = amplitude**2 - np.einsum("mn,nm->m", between, np.linalg.solve(covariance, between.T))
        np.testing.assert_allclose(variance[task, :, 0], left + noise[task] ** 2, rtol=1e-5)


def test_the_linear_oracle_knows_the_scale_of_each_task():
    sampler = TaskSampler(Linear(dim=(2, 4), noise=(0.1, 1.0), weight_scale=(0.3, 3.0)), seed=1)
    best, x, y = seen(sampler, steps=1, batch=3)
    query, *_ = sampler.query(IDS, 5)
    prediction = best.predict(torch.from_numpy(query))
    assert prediction.variance is not None
    found, variance = prediction.mean.numpy(), prediction.variance.numpy()
    scales, noise = sampler.parameters(IDS)[:, 0].astype(np.float64), sampler.noise(IDS).astype(np.float64)
    assert scales.max() / scales.min() > 2
    for task, (scale, sigma) in enumerate(zip(scales, noise, strict=True)):
        seen_x, asked = (np.insert(a[task].astype(np.float64), 0, 1.0, axis=1) for a in (x, query))
        covariance = scale**2 * seen_x @ seen_x.T + sigma**2 * np.eye(3)
        wanted = scale**2 * asked @ seen_x.T @ np.linalg.solve(covariance, y[task])
        np.testing.assert_allclose(found[task, :, 0], wanted, atol=1e-5)
        between = scale**2 * asked @ seen_x.T
        left = scale**2 * (asked**2).sum(1) - np.einsum("mn,nm->m", between, np.linalg.solve(covariance, between.T))
        np.testing.assert_allclose(variance[task, :, 0], left + sigma**2, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "matern12", "matern32", "matern52"])
def test_the_gp_oracle_agrees_with_scikit_learn(kernel):
    gp = pytest.importorskip("sklearn.gaussian_process")
    sampler = TaskSampler(Gp(kernel=kernel, noise=(0.3, 0.3), amplitude=(1.5, 1.5)), seed=1)
    best, x, y = seen(sampler)
    query, *_ = sampler.query(IDS, 5)
    found = best.predict(torch.from_numpy(query)).mean.numpy()
    nu = {"rbf": np.inf, "matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[kernel]
    for task, (length, amplitude) in enumerate(sampler.parameters(IDS)):
        covariance = gp.kernels.ConstantKernel(amplitude**2) * gp.kernels.Matern(length, nu=nu)
        model = gp.GaussianProcessRegressor(covariance, alpha=0.3**2, optimizer=None).fit(x[task], y[task])
        np.testing.assert_allclose(found[task, :, 0], model.predict(query[task]), atol=1e-4)


def test_the_gp_oracle_interpolates_without_noise():
    sampler = TaskSampler(Gp(noise=(0.0, 0.0), kernel="matern12"), seed=1)
    best, x, y = seen(sampler, steps=1)
    assert np.allclose(best.predict(torch.from_numpy(x)).mean[..., 0], y, atol=1e-4)


def test_the_gp_oracle_gives_up_beyond_its_rows():
    sampler = TaskSampler(Gp(), seed=1)
    best, *_ = seen(sampler, steps=1, batch=8193)
    assert best.predict(torch.zeros(6, 2, 1)).mean.isnan().all()


def test_the_mixture_oracle_is_bayes_rule_on_the_joint_normal():
    """All rows of a class with the query are jointly normal: what the closed form must come down to."""
    sampler = TaskSampler(GMM, seed=1)
    best, x, y = seen(sampler, steps=2)
    query, *_ = sampler.query(IDS, 3)
    found = best.predict(torch.from_numpy(query)).mean.numpy()
    parameters = sampler.parameters(IDS).astype(np.float64)
    for task, (dim, classes) in enumerate(zip(sampler.dims(IDS), sampler.n_classes(IDS), strict=True)):
        variance, scale = parameters[task]
        for point, target in zip(query[task, :, :dim].astype(np.float64), found[task], strict=True):
            density = np.zeros(sampler.outputs)
            for label in range(classes):
                rows = x[task, y[task] == label, :dim]
                density[label] = np.exp(
                    _joint(np.vstack([rows, point]), variance, scale) - _joint(rows, variance, scale)
                )
            np.testing.assert_allclose(target, density / density.sum(), atol=1e-5)


def _joint(rows: np.ndarray, variance: float, scale: float) -> float:
    """Log density of rows of one class, their mean integrated out."""
    if not len(rows):
        return 0.0
    covariance = scale**2 * np.ones((len(rows), len(rows))) + variance * np.eye(len(rows))
    return float(sum(stats.multivariate_normal(np.zeros(len(rows)), covariance).logpdf(c) for c in rows.T))


def test_mixture_queries_of_another_scale_have_no_oracle():
    assert oracle(TaskSampler(Gmm(query_scale=2.0), seed=1), IDS) is None


@pytest.mark.parametrize(
    ("learner", "family"),
    [(regimes.parametric(), GP), (regimes.parametric("classification"), GMM)],
    ids=["gp", "gmm"],
)
def test_evaluate_reports_an_oracle_below_the_learner(learner, family):
    few, many = evaluate(learner, TaskSampler(family, seed=1), steps=[1, 8], tasks=24, batch=16)
    assert 0 < many["oracle"] < few["oracle"]
    assert min(few["ratio"], many["ratio"]) > 1
