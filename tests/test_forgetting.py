"""A bank of states that forget: each against weighted rows, all against a stream that drifts and one that does not."""

import math

import pytest
import torch

from amortix import checkpoint, regimes
from amortix.adapters.forgetting import ForgettingAdapter
from amortix.batch import Batch, State
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.moments import of_rows
from amortix.testing import check_learner

TASKS, ROWS, COLUMNS, NOISE = 3, 20, 4, 0.5


def forgetting(learner: AbstractLearner, *spans: tuple[float, ...]) -> TaskStateLearner:
    assert isinstance(learner, TaskStateLearner)
    task: Task = "regression" if learner.task == "regression" else "classification"
    return TaskStateLearner("parametric", task, ForgettingAdapter(learner.adapter, *spans), learner.predictor)


def stream(batches: int, tasks: int = TASKS, step: float = 0.0, seed: int = 0) -> list[tuple[Batch, torch.Tensor]]:
    """Mini-batches of linear tasks, weights ~ N(0, I), a share of which is drawn anew at each."""
    generator = torch.Generator().manual_seed(seed)
    weights, made = torch.randn(tasks, COLUMNS, 1, generator=generator), []
    for _ in range(batches):
        weights = (1 - step**2) ** 0.5 * weights + step * torch.randn(weights.shape, generator=generator)
        x = torch.randn(tasks, ROWS, COLUMNS, generator=generator)
        y = (x @ weights).squeeze(2) + NOISE * torch.randn(tasks, ROWS, generator=generator)
        made.append((Batch(x, y), weights))
    return made


@torch.no_grad()
def adapted(learner: AbstractLearner, batches: list[Batch]) -> State:
    state = learner.init(len(batches[0].x), COLUMNS)
    for batch in batches:
        state = learner.step(state, batch)
    return state


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_banks_keep_the_contract(task: Task):
    check_learner(forgetting(regimes.parametric(task, sample=64)))


@pytest.mark.slow
def test_banks_of_kernels_keep_the_contract():
    check_learner(forgetting(regimes.explicit(sample=64)))


def test_a_state_that_never_forgets_is_the_adapters_own():
    plain = regimes.parametric()
    batches = [batch for batch, _ in stream(6)]
    query = torch.randn(TASKS, 7, COLUMNS, generator=torch.Generator().manual_seed(2))
    learners = (plain, forgetting(plain, (math.inf,)))
    one, other = (learner.predict(adapted(learner, batches), query) for learner in learners)
    assert torch.equal(one.mean, other.mean)
    assert one.variance is not None
    assert other.variance is not None
    torch.testing.assert_close(one.variance, other.variance)


def test_moments_are_those_of_rows_that_fade():
    span, learner = 50.0, forgetting(regimes.parametric(), (math.inf, 50.0))
    batches = [batch for batch, _ in stream(6)]
    state = adapted(learner, batches)
    x, y = torch.cat([b.x for b in batches], 1), torch.cat([b.y for b in batches], 1)
    later = ROWS * torch.arange(5, -1, -1.0).repeat_interleave(ROWS).expand(TASKS, -1)
    features = learner.predictor.features(x)
    for place, weight in ((0, torch.ones_like(later)), (1, torch.exp(-later / span))):
        expected = of_rows(features, y.unsqueeze(2), weight).memory()
        torch.testing.assert_close(state.value[:, place], expected.pop("cross"), rtol=1e-4, atol=1e-5)
        for name, tensor in expected.items():
            torch.testing.assert_close(state.memory[name][:, place], tensor, rtol=1e-4, atol=1e-5)


def test_scores_are_of_predictions_made_before_the_rows_were_seen():
    learner = forgetting(regimes.parametric(), (math.inf, 30.0))
    batches = [batch for batch, _ in stream(3)]
    before = adapted(learner, batches[:2])
    gained = []
    for place in range(2):
        alone = State(before.value[:, place], before.age, {k: v[:, place] for k, v in before.memory.items()})
        told = regimes.parametric().predict(alone, batches[2].x).log_likelihood(batches[2].y).sum(1)
        gained.append(before.memory["bank_scores"][:, place] * math.exp(-ROWS / 2048) + told)
    found = adapted(learner, batches).memory["bank_scores"]
    torch.testing.assert_close(found[:, 1] - found[:, 0], gained[1] - gained[0], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def errors(learners: list[TaskStateLearner], step: float, batches: int = 60, tasks: int = 64) -> list[float]:
    """Mean squared error at the weights of the time, over the last third of the stream."""
    query = torch.randn(tasks, 32, COLUMNS, generator=torch.Generator().manual_seed(1))
    states, totals = [learner.init(tasks, COLUMNS) for learner in learners], [0.0] * len(learners)
    for index, (batch, weights) in enumerate(stream(batches, tasks, step)):
        for place, learner in enumerate(learners):
            states[place] = learner.step(states[place], batch)
            if index >= batches * 2 // 3:
                wrong = learner.predict(states[place], query).mean - query @ weights
                totals[place] += float(wrong.square().mean())
    return totals


@pytest.mark.slow
def test_a_stationary_stream_costs_at_most_a_fiftieth_and_drift_is_followed():
    """Asked: no worse than 1.02 times under a stationary stream, clearly better under drift, here at most half."""
    plain = checkpoint.load("parametric-regression")
    assert isinstance(plain, TaskStateLearner)
    learners = [plain, forgetting(plain)]
    still, bank = errors(learners, step=0.0)
    assert bank <= 1.02 * still
    for step in (0.03, 0.1):
        still, bank = errors(learners, step)
        assert bank <= 0.5 * still
