"""The gradient adapter: a start and an update rule, applied a few times to each mini-batch.

Gradient-based meta-learning and learned optimizers are this adapter with different parts: what is learned is the
start (MAML), its rates (Meta-SGD) or the update itself. The state's value is θ; its memory that of the update.

References:
    Finn, Abbeel and Levine, "Model-agnostic meta-learning", ICML 2017; Andrychowicz et al., "Learning to learn by
    gradient descent by gradient descent", NeurIPS 2016; as the gradient-only case of arXiv 2510.11471, equation 2.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractPredictor, AbstractStart, AbstractUpdate
from amortix.gradients import Gradient, second_order
from amortix.likelihoods import AbstractLikelihood

_OWN = ("seen", "error")


@final
class GradientAdapter(AbstractAdapter[AbstractPredictor]):
    """Inner steps from a start by an update rule.

    Args:
        start: θ⁽⁰⁾.
        update: the rule.
        likelihood: whose mean loss over the mini-batch is descended.
        gradient: what the outer loss sees of the inner gradients.
        steps: inner steps on each mini-batch.
    """

    def __init__(
        self,
        start: AbstractStart,
        update: AbstractUpdate,
        likelihood: AbstractLikelihood,
        *,
        gradient: Gradient = second_order,
        steps: int = 1,
    ):
        super().__init__()
        self.start = start
        self.update = update
        self.likelihood = likelihood
        self.gradient = gradient
        self.steps = steps

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """θ⁽⁰⁾, the rule's first memory, no rows seen."""
        value = self.start(predictor.layout(features, self.likelihood.raw(outputs))).repeat(tasks, 1)
        own = {"seen": torch.zeros(tasks, outputs), "error": torch.zeros(tasks)}
        return State(value, torch.zeros(tasks, dtype=torch.int64), self.update.init(value) | own)

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Inner steps on one mini-batch."""
        outputs, weight = state.memory["seen"].shape[1], batch.weights()
        layout = predictor.layout(batch.x.shape[2], self.likelihood.raw(outputs))

        def loss(value: Tensor) -> Tensor:
            return self.likelihood.mean_loss(predictor(batch.x, value, layout), batch)

        value, memory = state.value, {k: v for k, v in state.memory.items() if k not in _OWN}
        error = state.memory["error"]
        with torch.set_grad_enabled(_learning(self, predictor)):
            for inner in range(self.steps):
                losses, gradient = self.gradient(loss, value)
                if inner == 0:
                    error = error + weight.sum(1) * losses
                value, memory = self.update(value, gradient, memory, layout)
        seen = state.memory["seen"] + self.likelihood.counts(batch.y, weight, outputs)
        return State(value, state.age + 1, memory | {"seen": seen, "error": error})

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """f(x, θ)."""
        seen = state.memory["seen"]
        layout = predictor.layout(x.shape[2], self.likelihood.raw(seen.shape[1]))
        noise = (state.memory["error"] + 1.0) / (seen.sum(1) + 1.0)
        return self.likelihood(predictor(x, state.value, layout), noise)


def _learning(*parts: torch.nn.Module) -> bool:
    """Whether anything is being learned; a graph for a frozen learner would only grow from step to step."""
    return torch.is_grad_enabled() and any(p.requires_grad for part in parts for p in part.parameters())
