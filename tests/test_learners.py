"""Every learner against the contract, and each update rule against its closed form."""

import pytest
import torch
import torch.nn.functional as F

from amortix import checkpoint, regimes
from amortix.adapters.newton import NewtonAdapter
from amortix.batch import Batch
from amortix.errors import LearnerError
from amortix.latent import Latent
from amortix.learner import AbstractLearner, QueryStateLearner, Task, TaskStateLearner
from amortix.moments import of_rows
from amortix.testing import check_learner

CONSTRUCTORS = (regimes.parametric, regimes.explicit, regimes.implicit)
TASKS = ("regression", "classification")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("construct", CONSTRUCTORS)
def test_untrained_learners_keep_the_contract(construct, task):
    check_learner(construct(task, sample=64))


@pytest.mark.parametrize("name", [f"{c.__name__}-{t}" for c in CONSTRUCTORS for t in TASKS])
def test_bundled_learners_keep_the_contract(name):
    check_learner(checkpoint.load(name))


def test_the_suite_catches_a_learner_that_writes_into_its_state():
    class Careless(AbstractLearner):
        needs_queries = False
        inner = regimes.parametric()

        def init(self, tasks, features, outputs=1, query_x=None, like=None):
            return self.inner.init(tasks, features, outputs)

        def step(self, state, batch):
            stepped = self.inner.step(state, batch)
            state.value.add_(1.0)
            return stepped

        def predict(self, state, x=None):
            return self.inner.predict(state, x)

        def ask(self, query_x, fitted):
            return self.inner.ask(query_x, fitted)

        def recall(self, state, batch):
            return self.inner.recall(state, batch)

        def merge(self, state, *others):
            return self.inner.merge(state, *others)

    with pytest.raises(AssertionError, match="written into"):
        check_learner(Careless("parametric", "regression"))


@pytest.mark.parametrize("construct", CONSTRUCTORS)
def test_limits_are_named(construct):
    learner = construct("classification")
    query = torch.zeros(1, 2, 257) if learner.needs_queries else None
    with pytest.raises(LearnerError, match="1 to 256 columns, not 257"):
        learner.init(1, 257, 2, query)
    with pytest.raises(LearnerError, match="2 to 10 classes, not 11"):
        learner.init(1, 3, 11, None if query is None else query[..., :3])


def test_queries_go_where_they_belong():
    task, query = regimes.parametric(), regimes.implicit()
    with pytest.raises(LearnerError, match="belongs to its queries"):
        query.init(1, 2, 1)
    with pytest.raises(LearnerError, match="knows no queries"):
        task.init(1, 2, 1, torch.zeros(1, 4, 2))
    with pytest.raises(LearnerError, match="answers any query"):
        task.ask(torch.zeros(1, 4, 2), task.init(1, 2, 1))
    with pytest.raises(LearnerError, match="recalls no rows"):
        task.recall(task.init(1, 2, 1), Batch(torch.zeros(1, 4, 2), torch.zeros(1, 4)))
    with pytest.raises(LearnerError, match="needs the points"):
        task.predict(task.init(1, 2, 1))
    with pytest.raises(LearnerError, match="its own queries"):
        query.predict(query.init(1, 2, 1, torch.zeros(1, 4, 2)), torch.zeros(1, 4, 2))


def stream(batches: int, rows: int, columns: int = 3, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(batches):
        x = torch.randn(1, rows, columns, generator=generator)
        y = torch.sin(2 * x[..., 0]) + x[..., 1] + 0.1 * torch.randn(1, rows, generator=generator)
        made.append(Batch(x, y))
    return made


def run(learner: AbstractLearner, batches: list[Batch], query: torch.Tensor | None = None):
    with torch.no_grad():
        state = learner.init(1, batches[0].x.shape[2], 1, query)
        for batch in batches:
            state = learner.step(state, batch)
    return state


def test_moments_under_the_final_kernel_hold_every_row_once():
    learner = regimes.explicit(size=16, sample=40, ascent=5)
    assert isinstance(learner, TaskStateLearner)
    batches = stream(5, 24)
    state = run(learner, batches)
    x, y = torch.cat([b.x for b in batches], 1), torch.cat([b.y for b in batches], 1)
    features = learner.predictor.features(x, Latent.from_memory(state.memory))
    expected = of_rows(features, y.unsqueeze(2), torch.ones(1, 120))
    torch.testing.assert_close(state.memory["second"], expected.second, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(state.value, expected.cross, atol=1e-5, rtol=1e-4)
    assert state.memory["count"].item() == 120


def test_the_order_of_mini_batches_after_the_sample_does_not_matter():
    learner = regimes.explicit(size=16, sample=24, ascent=5)
    batches, query = stream(6, 24), torch.randn(1, 9, 3)
    forward = learner.predict(run(learner, batches), query).mean
    backward = learner.predict(run(learner, batches[:1] + batches[:0:-1]), query).mean
    torch.testing.assert_close(forward, backward, atol=1e-4, rtol=1e-4)


def test_a_query_retains_its_nearest_rows():
    learner = regimes.implicit(rows=7, sample=48, ascent=5)
    batches, query = stream(6, 24), torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(9))
    state = run(learner, batches, query)
    relevance = Latent.from_memory(state.memory).kernel.relevance.exp()
    rows = torch.cat([b.x for b in batches], 1)
    squared = (relevance * (query.unsqueeze(2) - rows.unsqueeze(1)).square()).sum(3)
    # Rows that a query dropped under an earlier kernel are gone: all rows arrive before the last kernel here.
    kernel_rows = run(learner, batches[:2], query)
    assert torch.equal(Latent.from_memory(kernel_rows.memory).kernel.relevance.exp(), relevance)
    nearest = squared.topk(7, largest=False).values
    assert bool((state.memory["kept_distance"] >= nearest - 1e-5).all())
    late = late_state(learner, state, batches, query)
    torch.testing.assert_close(late.memory["kept_distance"], nearest, atol=1e-5, rtol=1e-4)


def late_state(learner, fitted, batches, query):
    with torch.no_grad():
        state = learner.ask(query, fitted)
        for batch in batches:
            state = learner.recall(state, batch)
    return state


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_late_queries_recall_rows_and_learn_nothing_from_them_twice(task: Task):
    learner = regimes.implicit(task, rows=7, sample=48, ascent=5)
    assert isinstance(learner, QueryStateLearner)
    batches, query = stream(6, 24), torch.randn(1, 5, 3)
    if task == "classification":
        batches = [Batch(b.x, (b.y > 0).float()) for b in batches]
    with torch.no_grad():
        state = learner.init(1, 3, 1 if task == "regression" else 2, query)
        for batch in batches:
            state = learner.step(state, batch)
    late = late_state(learner, state, batches, query)
    for name, tensor in state.tensors().items():
        if not name.endswith(("kept_distance", "kept_x", "kept_y")):
            assert torch.equal(late.tensors()[name], tensor), name
    # Rows come under the last kernel: none that an earlier one dropped is missing.
    assert bool((late.memory["kept_distance"] <= state.memory["kept_distance"] + 1e-5).all())


def test_softmax_parameters_are_stationary_for_all_rows_while_the_sample_holds_them():
    learner = regimes.parametric("classification", sample=256)
    assert isinstance(learner, TaskStateLearner)
    assert isinstance(learner.adapter, NewtonAdapter)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 240, 3, generator=generator)
    y = torch.multinomial(F.softmax(x[0] @ torch.randn(3, 3, generator=generator), -1), 1, generator=generator).view(
        1, -1
    )
    with torch.no_grad():
        state = learner.init(1, 3, 3)
        for start in range(0, 240, 24):
            state = learner.step(state, Batch(x[:, start : start + 24], y[:, start : start + 24].float()))
        features = learner.predictor.features(x)
        probability = F.softmax(features @ state.value, -1)
        gradient = features.mT @ (probability - F.one_hot(y, 3))
        group = learner.predictor.group(3)
        gradient = gradient + state.memory["damping"].exp()[:, group].unsqueeze(2) * state.value
    # One Newton step per mini-batch follows the optimum to second order; the loss's own gradient is of order 240.
    assert float(gradient.abs().max()) < 0.5


def test_a_separable_task_does_not_run_away():
    learner = regimes.parametric("classification")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        state = learner.init(1, 2, 2)
        for _ in range(40):
            x = torch.randn(1, 32, 2, generator=generator)
            state = learner.step(state, Batch(x, (x[..., 0] > 0).float()))
    assert bool(torch.isfinite(state.value).all())
    assert float(state.value.abs().max()) < 1e3
