"""Closed forms of the families: distributions, covariances, and the graph that x and y follow."""

import numpy as np
import pytest
from scipy import stats

from amortix.data import Causal, Gmm, Gp, TaskSampler, Tree
from chance import follows, unrelated

TASKS = np.arange(4000)
GRAPHS = ["erdos_renyi", "scale_free", "watts_strogatz", "stochastic_block"]
NOISE = {"gauss": stats.norm, "laplace": stats.laplace, "cauchy": stats.cauchy}
#: Scale of scipy's distribution over the noise's: the double exponential is stated by its variance.
SCALE = {"gauss": 1.0, "laplace": np.sqrt(0.5), "cauchy": 1.0}
KERNELS = {
    "rbf": lambda r: np.exp(-r * r / 2),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "matern52": lambda r: (1 + np.sqrt(5) * r + 5 * r * r / 3) * np.exp(-np.sqrt(5) * r),
}


def test_gp_inputs_values_and_noise_follow_their_distributions():
    family = Gp(dim=(2, 2), low=-1.0, high=3.0, amplitude=(1.5, 1.5), noise=(0.2, 0.2), frequencies=7)
    x, y, signal = TaskSampler(family, seed=3).query(TASKS, 1)
    assert follows(x, stats.uniform(-1, 4))
    # cos² + sin² = 1: a value is normal of variance a² whatever the frequencies.
    assert follows(signal, stats.norm(0, 1.5))
    assert follows(y - signal[..., 0], stats.norm(0, 0.2))


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gp_covariance_is_the_kernel(kernel, dim):
    length, amplitude = 0.7, 1.3
    family = Gp(
        dim=(dim, dim), kernel=kernel, length_scale=(length,) * 2, amplitude=(amplitude,) * 2, low=-0.5, high=0.5
    )
    x, _, signal = TaskSampler(family, seed=3).query(np.arange(20_000), 2)
    r = np.linalg.norm(x[:, 0].astype(np.float64) - x[:, 1], axis=-1) / length
    expected = amplitude**2 * KERNELS[kernel](r)
    error = signal[:, 0, 0].astype(np.float64) * signal[:, 1, 0] - expected
    for near in (r < np.median(r), r >= np.median(r)):
        assert abs(error[near].mean()) < 5 * error[near].std() / np.sqrt(near.sum())


@pytest.mark.parametrize("trees", [1, 3])
def test_tree_values_are_normal_of_unit_variance(trees):
    family = Tree(depth=(3, 3), trees=(trees, trees), threshold=1.0, noise=(0.3, 0.3))
    _, y, signal = TaskSampler(family, seed=3).query(TASKS, 1)
    assert follows(signal, stats.norm)
    assert follows(y - signal[..., 0], stats.norm(0, 0.3))


def test_a_tree_of_one_question_tells_signs_apart():
    x, _, signal = TaskSampler(Tree(dim=(1, 1), depth=(1, 1)), seed=3).query(TASKS, 2)
    same = (x[:, 0, 0] > 0) == (x[:, 1, 0] > 0)
    assert np.array_equal(signal[:, 0] == signal[:, 1], same[:, None])
    assert unrelated(signal[~same, 0], signal[~same, 1])


def test_gmm_rows_follow_the_mixture():
    variance, scale, classes = 0.3, 2.0, 4
    family = Gmm(dim=(2, 2), classes=(classes,) * 2, variance=(variance,) * 2, mean_scale=(scale,) * 2)
    x, y = TaskSampler(family, seed=3).context(TASKS, 0 * TASKS, 2)
    assert follows(x[:, 0], stats.norm(0, np.sqrt(variance + scale**2)))
    assert stats.chisquare(np.bincount(y[:, 0].astype(int), minlength=classes)).pvalue > 1e-3
    difference = (x[:, 0] - x[:, 1])[y[:, 0] == y[:, 1]]
    assert follows(difference, stats.norm(0, np.sqrt(2 * variance)))
    other = (x[:, 0] - x[:, 1])[y[:, 0] != y[:, 1]]
    assert follows(other, stats.norm(0, np.sqrt(2 * (variance + scale**2))))


def test_gmm_means_last_over_steps():
    sampler = TaskSampler(Gmm(variance=(0.3, 0.3)), seed=3)
    (x, y), (later, label) = (sampler.context(TASKS, 0 * TASKS + step, 1) for step in (0, 1))
    assert follows((x - later)[y == label], stats.norm(0, np.sqrt(0.6)))


@pytest.mark.parametrize("kind", NOISE)
def test_causal_noise_is_of_its_kind(kind):
    noise = 0.4
    sampler = TaskSampler(Causal(noise_kind=kind, noise=(noise, noise)), seed=3)
    x, y, signal = sampler.query(TASKS, 1)
    law = NOISE[kind](0, noise * SCALE[kind])
    roots = sampler.graph(TASKS)[:, :, :-1].sum(1) == 0
    assert follows(x[:, 0][roots], law)
    # As float32, a sum of a large signal and its noise keeps less of the noise; the signals here are moderate.
    assert follows(y[:, 0] - signal[:, 0, 0], law)


@pytest.mark.parametrize("mechanism", ["linear", "random_features"])
@pytest.mark.parametrize("kind", GRAPHS)
def test_causal_graphs_have_no_cycle_and_y_has_a_parent_and_no_child(kind, mechanism):
    graph = TaskSampler(Causal(dim=(2, 8), graph=kind, mechanism=mechanism), seed=3).graph(TASKS[:500])
    assert np.isin(graph, (0, 1)).all()
    assert not np.linalg.matrix_power(graph, graph.shape[-1]).any()
    assert (graph[:, :, -1].sum(1) >= 1).all()
    assert not graph[:, -1].any()


def test_causal_variables_follow_from_their_parents_alone():
    noise, dim = 0.5, 5
    sampler = TaskSampler(Causal(dim=(dim, dim), noise=(noise, noise)), seed=3)
    tasks = TASKS[:100]
    x, _, signal = sampler.query(tasks, 200)
    residuals = []
    for rows, mean, graph in zip(x.astype(np.float64), signal, sampler.graph(tasks), strict=True):
        fit, *_ = np.linalg.lstsq(rows, mean[:, 0])
        # Float32 sums of a few terms: their rounding errors stay far below any weight that counts.
        assert np.array_equal(np.abs(fit) > 1e-5, graph[:dim, dim] == 1)
        for node in range(dim):
            causes = rows[:, graph[:dim, node] == 1]
            left = rows[:, node] - causes @ np.linalg.lstsq(causes, rows[:, node])[0]
            residuals.append(np.square(left).sum() / (len(rows) - causes.shape[1]))
    # σ² χ²/n of each: unbiased, of standard error at most σ² √(2 / (n - dim)).
    error = np.mean(residuals) - noise**2
    assert abs(error) < 5 * noise**2 * np.sqrt(2 / (200 - dim) / len(residuals))
    assert np.abs(residuals / np.float64(noise**2) - 1).max() < 6 * np.sqrt(2 / (200 - dim))
