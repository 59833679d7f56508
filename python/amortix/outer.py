"""What meta-training minimises: a loss of a stepped state on fresh rows of its task."""

from __future__ import annotations

import abc
from typing import final

from torch import Tensor, nn

from amortix.batch import Prediction, State, TaskBatch
from amortix.objectives import excess

_SMALL = 2e-3  # loss below which a task's weight stops growing


class AbstractOuterLoss(nn.Module, abc.ABC):
    """The outer loss of one training iteration."""

    @abc.abstractmethod
    def forward(self, before: State, after: State, prediction: Prediction, data: TaskBatch) -> Tensor:
        """The loss of each task, ``[T]``.

        Args:
            before: the state that was stepped, with gradient where its start is learned.
            after: the state that it became.
            prediction: at the queries, from ``after``.
            data: what was drawn.
        """


@final
class RelativeExcess(AbstractOuterLoss):
    """The excess risk divided by its own size, so that late, small errors weigh as much as early, large ones."""

    def forward(self, before: State, after: State, prediction: Prediction, data: TaskBatch) -> Tensor:
        """See `AbstractOuterLoss.forward`."""
        risk = excess(prediction, data.signal, classes=prediction.variance is None).mean(1)
        return risk / (risk.detach() + _SMALL)


@final
class QueryError(AbstractOuterLoss):
    """Squared error or cross-entropy of the queries' own targets: the outer loss of MAML."""

    def forward(self, before: State, after: State, prediction: Prediction, data: TaskBatch) -> Tensor:
        """See `AbstractOuterLoss.forward`."""
        if prediction.variance is None:
            return -prediction.log_likelihood(data.query_y).mean(1)
        return (prediction.mean.squeeze(2) - data.query_y).square().mean(1)


@final
class Displacement(AbstractOuterLoss):
    """½‖θ⁽⁰⁾ − θ‖² with θ held fast, whose gradient θ⁽⁰⁾ − θ is the meta-update of Reptile; the queries are not used.

    References:
        Nichol, Achiam and Schulman, "On first-order meta-learning algorithms", arXiv 1803.02999.
    """

    def forward(self, before: State, after: State, prediction: Prediction, data: TaskBatch) -> Tensor:
        """See `AbstractOuterLoss.forward`."""
        return (before.value - after.value.detach()).square().sum(1) / 2


@final
class NegativeLogLikelihood(AbstractOuterLoss):
    """−log p of the queries' own targets: the loss of neural processes, and the prior-data loss of PFNs.

    References:
        Garnelo et al., "Conditional neural processes", ICML 2018; Müller et al., "Transformers can do Bayesian
        inference", ICLR 2022, equation 3.
    """

    def forward(self, before: State, after: State, prediction: Prediction, data: TaskBatch) -> Tensor:
        """See `AbstractOuterLoss.forward`."""
        return -prediction.log_likelihood(data.query_y).mean(1)
