"""What the tests of methods share: tasks at hand, and perceptrons written with torch alone."""

import torch
import torch.nn.functional as F

from amortix.batch import Batch, TaskBatch
from amortix.learner import AbstractLearner


def perceptron(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """One task: ``x`` [M, D] through layers of [in, out] weights."""
    parts = list(parameters.values())
    for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
        x = F.relu(x @ weight + bias)
    return x @ parts[-2] + parts[-1]


def mean_loss(task: str, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs.squeeze(1), y) if task == "regression" else F.cross_entropy(outputs, y.long())


def drawn(task: str, *, tasks=3, rows=10, queries=7, columns=2, classes=3, seed=0) -> TaskBatch:
    """Contexts and queries of one mini-batch; what they mean does not matter."""
    generator = torch.Generator().manual_seed(seed)
    x, query_x = (torch.randn(tasks, n, columns, generator=generator) for n in (rows, queries))
    if task == "regression":
        y, query_y = (torch.randn(tasks, n, generator=generator) for n in (rows, queries))
        return TaskBatch(Batch(x, y), query_x, query_y, query_y.unsqueeze(2))
    y, query_y = (torch.randint(classes, (tasks, n), generator=generator).float() for n in (rows, queries))
    return TaskBatch(Batch(x, y), query_x, query_y, F.one_hot(query_y.long(), classes).float())


def outer_gradients(learner: AbstractLearner, data: TaskBatch, outputs: int, batches: int = 1):
    """The prediction, the outer loss and the meta-gradients by name, after some steps on the same mini-batch."""
    before = state = learner.init(len(data.query_x), data.query_x.shape[2], outputs)
    for _ in range(batches):
        state = learner.step(state, data.context)
    prediction = learner.predict(state, data.query_x)
    loss = learner.outer(before, state, prediction, data).mean()
    names, parameters = zip(*learner.named_parameters(), strict=True)
    return prediction.mean, loss, dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
