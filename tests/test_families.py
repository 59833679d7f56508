"""The families of functions, trees, mixtures and causal graphs: what they draw follows the distributions they state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amortix.data import Causal, Family, Gmm, Gp, Linear, Logistic, Mlp, TaskSampler, Tree, normals
from amortix.errors import ConfigError
from chance import follows, unrelated

SEED = 2**63 + 5
TASKS = np.arange(4000)

#: x and y of task -1 at step 7, two rows: a change here breaks every recipe that names a seed.
GOLDEN = {
    Gp(dim=(1, 2), frequencies=20, kernel="matern32"): (
        "0x1.f3e710p+0 0x1.b3d240p-3 0x1.ac8270p+0 0x1.1ed100p-1",
        "-0x1.8b5804p-1 -0x1.3ebacap-1",
    ),
    Tree(dim=(2, 2), depth=(2, 3), trees=(2, 2), threshold=0.5, noise=(0.1, 0.1)): (
        "0x1.243fccp-3 0x1.032f3cp+0 -0x1.3a0cf0p-2 0x1.2be7dap-1",
        "0x1.8b7e4ap-1 0x1.01a646p-3",
    ),
    Gmm(): ("-0x1.4123d4p-2 -0x1.01dd08p+1 0x1.0f1fcap+0 -0x1.5b68b0p+0", "0x1p+0 0x1.8p+1"),
    Causal(dim=(2, 2), noise_kind="laplace"): (
        "0x1.52fd26p+0 0x1.77a818p-5 0x1.484b92p-1 0x1.e7fa34p-4",
        "0x1.090498p-1 0x1.4140e2p-2",
    ),
    Causal(dim=(2, 2), graph="scale_free", mechanism="random_features", noise_kind="cauchy"): (
        "0x1.aee6cep+3 0x1.09a9d4p+0 0x1.e8bd22p+0 0x1.72973cp-2",
        "0x1.05a590p-1 0x1.04cc52p+1",
    ),
    Mlp(dim=(2, 2), layers=2, activation="relu"): (
        "0x1.243fccp-3 0x1.032f3cp+0 -0x1.3a0cf0p-2 0x1.2be7dap-1",
        "0x1.38bdd8p+1 0x1.449068p+1",
    ),
}


def hexadecimal(text: str) -> list[float]:
    return [float.fromhex(number) for number in text.split()]


@pytest.mark.parametrize("family", GOLDEN, ids=lambda f: f.name)
def test_golden_values(family):
    x, y = TaskSampler(family, seed=SEED).context([3, -1], [0, 7], 2)
    for array, text in zip((x, y), GOLDEN[family], strict=True):
        assert array[1].ravel().tolist() == hexadecimal(text)


def test_normals_are_golden_normal_and_uncorrelated():
    golden = "-0x1.ee59c8p-1 -0x1.ee822ep-4 0x1.af6226p-5 0x1.10df90p-2 0x1.898b46p-3"
    assert normals(SEED, 5).tolist() == hexadecimal(golden)
    z = normals(1, 200_000)
    assert follows(z, stats.norm)
    for lag in (1, 8, 32, 1 << 15):  # neighbours, and the units the generator works in
        assert unrelated(z[:-lag], z[lag:])
    assert unrelated(z, normals(2, len(z)))


@given(seed=st.integers(0, 2**64 - 1), short=st.integers(0, 300), more=st.integers(0, 300))
def test_longer_normals_begin_with_shorter_ones(seed, short, more):
    assert np.array_equal(normals(seed, short + more)[:short], normals(seed, short))


def test_normals_of_all_threads_begin_with_those_of_one():
    assert np.array_equal(normals(SEED, 100_001)[:60_000], normals(SEED, 60_000))


@pytest.mark.parametrize("family", GOLDEN, ids=lambda f: f.name)
def test_tasks_are_independent(family):
    x, y = TaskSampler(family, seed=4).context(TASKS, 0 * TASKS, 1)
    assert unrelated(y[0::2], y[1::2])
    assert unrelated(x[0::2, 0, 0], x[1::2, 0, 0])


@pytest.mark.parametrize("family", [Gp(), Tree(), Mlp()], ids=lambda f: f.name)
def test_inputs_of_steps_rows_and_columns_are_independent(family: Family):
    sampler = TaskSampler(family, seed=4)
    (first, _), (second, _) = (sampler.context(TASKS, 0 * TASKS + step, 2) for step in (0, 1))
    assert unrelated(first, second)
    assert unrelated(first[:, 0], first[:, 1])
    assert sampler.features == 1 or unrelated(first[..., 0], first[..., 1])


@pytest.mark.parametrize("family", [Gp(), Mlp(), Causal(), Causal(noise_kind="cauchy")], ids=repr)
def test_noise_of_draws_and_rows_is_independent(family: Family):
    sampler = TaskSampler(family, seed=4)
    draws = (sampler.query(TASKS, 2, draw=draw) for draw in (0, 1))
    first, second = (y - signal[..., 0] for _, y, signal in draws)
    assert unrelated(first, second)
    assert unrelated(first[:, 0], first[:, 1])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("scale", [0.5, 8.0])
def test_relu_outputs_have_unit_variance(layers, scale):
    family = Mlp(dim=(32, 32), layers=layers, activation="relu", weight_scale=(scale, scale))
    _, _, signal = TaskSampler(family, seed=2).query(np.arange(2000), 32)
    variances = signal.var(axis=1, ddof=1)
    assert abs(variances.mean() - 1) < 5 * variances.std() / np.sqrt(len(variances))


def test_outputs_of_two_tanh_layers_vary_by_about_one():
    _, _, signal = TaskSampler(Mlp(dim=(32, 32), layers=2), seed=2).query(np.arange(2000), 32)
    # The stated variance holds for many columns: at 32 of them the sums of a unit still differ in scale by row.
    assert signal.var(axis=1, ddof=1).mean() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("family", "size"), [(Linear(), 1), (Logistic(), 1), (Gp(), 2), (Gmm(), 2), (Causal(dim=(2, 4)), 25)], ids=repr
)
def test_parameters_have_the_stated_shape(family, size):
    assert TaskSampler(family, seed=0).parameters(TASKS[:7]).shape == (7, size)


@pytest.mark.parametrize("family", [Tree(), Mlp()], ids=lambda f: f.name)
def test_other_families_tell_no_parameters_and_no_graph(family):
    with pytest.raises(ConfigError, match="parameters"):
        TaskSampler(family, seed=0).parameters([0])
    with pytest.raises(ConfigError, match="graph"):
        TaskSampler(family, seed=0).graph([0])


def test_parameters_are_log_uniform():
    low, high = 0.1, 3.0
    gp = TaskSampler(Gp(length_scale=(low, high), amplitude=(low, high)), seed=3).parameters(TASKS)
    gmm = TaskSampler(Gmm(variance=(low, high), mean_scale=(low, high)), seed=3).parameters(TASKS)
    linear, logistic = (
        TaskSampler(family(weight_scale=(low, high)), seed=3).parameters(TASKS) for family in (Linear, Logistic)
    )
    for column in (*gp.T, *gmm.T, *linear.T, *logistic.T):
        assert follows(np.log(column), stats.uniform(np.log(low), np.log(high / low)))
    assert unrelated(gp[:, 0], gp[:, 1])
    assert unrelated(gmm[:, 0], gmm[:, 1])
