"""Public conformance suites: run them over a learner of your own as they run over ours.

>>> from amortix import parametric
>>> check_learner(parametric())

Each check raises AssertionError saying what differed. Predictions of targets of unit size must agree to 1e-3 where
float32 sums are taken in another order, and bit by bit where the same work is done twice.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.learner import AbstractLearner

_TASKS, _ROWS, _QUERIES, _COLUMNS, _CLASSES = 3, 24, 5, 4, 3
_TOLERANCE = 1e-3


def check_learner(learner: AbstractLearner) -> None:
    """Run every check: those of the contract, and that it learns from data.

    Args:
        learner: any learner of at least 6 columns and, for classification, 3 classes.

    Raises:
        AssertionError: a check failed; the message says which.
    """
    check_contract(learner)
    check_more_data_helps(learner)


def check_contract(learner: AbstractLearner) -> None:
    """Run every check that an untrained learner must pass, though it may still have to learn how to learn.

    Args:
        learner: as for `check_learner`.

    Raises:
        AssertionError: a check failed; the message says which.
    """
    for check in (
        check_shapes,
        check_purity,
        check_determinism,
        check_tasks_are_independent,
        check_ages_are_independent,
        check_queries_are_independent,
        check_padding_is_inert,
        check_saved_state_continues,
    ):
        check(learner)


def check_shapes(learner: AbstractLearner) -> None:
    """States lead with T; predictions are ``[T, M, O]``, finite, and probabilities sum to one."""
    data, query = _data(learner)
    state = _adapt(learner, data, query)
    for name, tensor in state.tensors().items():
        assert tensor.shape[0] == _TASKS, f"state tensor {name!r} leads with {tensor.shape[0]}, not with T = {_TASKS}"
    assert state.age.tolist() == [len(data)] * _TASKS, f"after {len(data)} steps the age is {state.age.tolist()}"
    prediction = _predict(learner, state, query)
    expected = (_TASKS, _QUERIES, _outputs(learner))
    assert tuple(prediction.mean.shape) == expected, f"mean is {tuple(prediction.mean.shape)}, not {expected}"
    assert bool(torch.isfinite(prediction.mean).all()), "the prediction is not finite"
    if learner.task == "classification":
        total = prediction.mean.sum(2)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5), "class probabilities do not sum to one"
    else:
        variance = prediction.variance
        assert variance is not None, "regression predicts no variance"
        assert bool((variance > 0).all()), "a predicted variance is not positive"


def check_purity(learner: AbstractLearner) -> None:
    """`step` and `predict` write into neither state nor batch, and predict needs no more than the state."""
    data, query = _data(learner)
    state = _adapt(learner, data[:1], query)
    before = {k: v.clone() for k, v in state.tensors().items()}
    x = data[1].x.clone()
    learner.step(state, data[1])
    _predict(learner, state, query)
    for name, tensor in state.tensors().items():
        assert torch.equal(tensor, before[name]), f"state tensor {name!r} was written into"
    assert torch.equal(data[1].x, x), "the batch was written into"


def check_determinism(learner: AbstractLearner) -> None:
    """The same data twice give the same bits."""
    data, query = _data(learner)
    first, second = (_predict(learner, _adapt(learner, data, query), query).mean for _ in range(2))
    assert torch.equal(first, second), "two identical runs differ"


def check_tasks_are_independent(learner: AbstractLearner) -> None:
    """A task's prediction depends neither on the other tasks nor on their order."""
    data, query = _data(learner)
    together = _predict(learner, _adapt(learner, data, query), query).mean
    order = torch.tensor([2, 0, 1])
    shuffled = [Batch(b.x[order], b.y[order]) for b in data]
    turned = _predict(learner, _adapt(learner, shuffled, query[order]), query[order]).mean
    _close(turned, together[order], "another order of the tasks changes the predictions")
    alone = [Batch(b.x[:1], b.y[:1]) for b in data]
    single = _predict(learner, _adapt(learner, alone, query[:1]), query[:1]).mean
    _close(single, together[:1], "a task alone is predicted differently")


def check_ages_are_independent(learner: AbstractLearner) -> None:
    """A task among older ones steps as it does alone: a pool of states holds all ages."""
    data, query = _data(learner)
    ages = (0, 1, 2)
    alone = [_adapt(learner, [_task(b, i) for b in data[:age]], query[i : i + 1]) for i, age in enumerate(ages)]
    batches = [_task(data[age], i) for i, age in enumerate(ages)]
    stacked = _stack(alone)
    batch = Batch(torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches]))
    with torch.no_grad():
        together = _predict(learner, learner.step(stacked, batch), query).mean
        for i, (state, own) in enumerate(zip(alone, batches, strict=True)):
            single = _predict(learner, learner.step(state, own), query[i : i + 1]).mean
            _close(together[i : i + 1], single, f"a task of age {ages[i]} among others is predicted differently")


def check_queries_are_independent(learner: AbstractLearner) -> None:
    """A query's prediction does not depend on which other queries are asked."""
    data, query = _data(learner)
    together = _predict(learner, _adapt(learner, data, query), query).mean
    few = query[:, :2]
    _close(
        _predict(learner, _adapt(learner, data, few), few).mean,
        together[:, :2],
        "other queries change a prediction",
    )


def check_padding_is_inert(learner: AbstractLearner) -> None:
    """Rows of weight zero and columns of zeros change nothing."""
    data, query = _data(learner)
    plain = _predict(learner, _adapt(learner, data, query), query).mean
    rows = [
        Batch(
            torch.cat([b.x, torch.full_like(b.x[:, :3], 7.0)], 1),
            torch.cat([b.y, torch.ones_like(b.y[:, :3])], 1),
            torch.cat([torch.ones_like(b.y), torch.zeros_like(b.y[:, :3])], 1),
        )
        for b in data
    ]
    _close(
        _predict(learner, _adapt(learner, rows, query), query).mean,
        plain,
        "rows of weight zero are not inert",
    )
    wide = [Batch(torch.cat([b.x, torch.zeros_like(b.x[..., :2])], 2), b.y) for b in data]
    wide_query = torch.cat([query, torch.zeros_like(query[..., :2])], 2)
    padded = _predict(learner, _adapt(learner, wide, wide_query), wide_query).mean
    _close(padded, plain, "columns of zeros are not inert")


def check_saved_state_continues(learner: AbstractLearner) -> None:
    """Save, load, step: the same bits as never having stopped."""
    data, query = _data(learner)
    state = _adapt(learner, data[:1], query)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_file({k: v.contiguous().clone() for k, v in state.tensors().items()}, path)
        loaded = State.from_tensors(load_file(path))
    for batch in data[1:]:
        state, loaded = learner.step(state, batch), learner.step(loaded, batch)
    for name, tensor in state.tensors().items():
        assert torch.equal(tensor, loaded.tensors()[name]), f"state tensor {name!r} differs after save and load"


def check_more_data_helps(learner: AbstractLearner) -> None:
    """On a linear task the error after eight batches is below that after one, and below that of the mean."""
    data, query = _data(learner, batches=8, queries=200)
    target = _truth(query, learner)
    errors = []
    for end in (1, 8):
        mean = _predict(learner, _adapt(learner, data[:end], query), query).mean
        guess = mean.squeeze(2) if learner.task == "regression" else mean.argmax(2).to(target.dtype)
        wrong = (guess - target).square() if learner.task == "regression" else (guess != target).float()
        errors.append(float(wrong.mean()))
    trivial = float(target.var()) if learner.task == "regression" else 1 - 1 / _CLASSES
    assert errors[1] < errors[0] < trivial, f"errors after 1 and 8 batches {errors}, of the mean {trivial:.3f}"


def _outputs(learner: AbstractLearner) -> int:
    return _CLASSES if learner.task == "classification" else 1


def _truth(x: Tensor, learner: AbstractLearner) -> Tensor:
    """A linear function of the columns, or the class whose linear function is largest; one per task."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(_TASKS, _COLUMNS, _outputs(learner), generator=generator)
    scores = x @ weights[: x.shape[0]]
    return scores.squeeze(2) if learner.task == "regression" else scores.argmax(2).to(x.dtype)


def _data(learner: AbstractLearner, batches: int = 3, queries: int = _QUERIES) -> tuple[list[Batch], Tensor]:
    generator = torch.Generator().manual_seed(3)
    context = []
    for _ in range(batches):
        x = torch.randn(_TASKS, _ROWS, _COLUMNS, generator=generator)
        y = _truth(x, learner)
        if learner.task == "regression":
            y = y + 0.5 * torch.randn(y.shape, generator=generator)
        context.append(Batch(x, y))
    return context, torch.randn(_TASKS, queries, _COLUMNS, generator=generator)


def _task(batch: Batch, index: int) -> Batch:
    return Batch(batch.x[index : index + 1], batch.y[index : index + 1])


def _stack(states: list[State]) -> State:
    each = [state.tensors() for state in states]
    return State.from_tensors({name: torch.cat([tensors[name] for tensors in each]) for name in each[0]})


@torch.no_grad()
def _adapt(learner: AbstractLearner, data: list[Batch], query: Tensor) -> State:
    tasks, _, columns = query.shape
    state = learner.init(tasks, columns, _outputs(learner), query if learner.needs_queries else None)
    for batch in data:
        state = learner.step(state, batch)
    return state


@torch.no_grad()
def _predict(learner: AbstractLearner, state: State, query: Tensor) -> Prediction:
    return learner.predict(state, None if learner.needs_queries else query)


def _close(found: Tensor, expected: Tensor, message: str) -> None:
    difference = float((found - expected).abs().max())
    assert difference <= _TOLERANCE, f"{message}: by up to {difference:.2e}"
