"""Forgetting: a bank of one adapter's states that forget at different rates, weighed by how they predict what comes.

To forget needs no update of its own: before a mini-batch, the weight of all rows so far shrinks by exp(−rows/span).
Nobody knows the right span beforehand, and it is not learned across tasks but from the stream itself: every mini-batch
is predicted by each state before it is learned from, and the bank is mixed by these log scores. Under a stationary
stream the state that never forgets wins, under drift one whose span is about that of the drift. The scores are
forgotten too, so that the weights can turn; and as no score tells a stationary stream from one that drifts more slowly
than can be seen, the prior is for the state that never forgets.

References:
    Dawid, "Present position and potential developments: some personal views: statistical theory: the prequential
    approach", JRSS A 1984; Raftery, Kárný and Ettler, "Online prediction under model uncertainty via dynamic model
    averaging", Technometrics 2010 (forgetting of parameters and of weights).
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, F

SPANS = (math.inf, 8192.0, 2048.0, 512.0, 128.0, 32.0)
"""Rows after which a row weighs 1/e, of each state of the bank."""

_WEIGHTS = ("count", "sample_weight")  # what of a state's memory says how much its rows weigh
_SCORES = "bank_scores"


@final
class ForgettingAdapter(AbstractAdapter[F]):
    """K states of an adapter of moments side by side, ``[T, K, ...]``; a step costs K times the adapter's.

    Args:
        inner: the adapter; its memory has the rows' weight as ``count``.
        spans: K spans in rows; infinity never forgets.
        turning: span in rows of the scores that weigh the bank.
        doubt: nats by which a state that forgets must score better than one that does not, to weigh the same.
    """

    def __init__(
        self,
        inner: AbstractAdapter[F],
        spans: tuple[float, ...] = SPANS,
        *,
        turning: float = 2048.0,
        doubt: float = 4.0,
    ):
        super().__init__()
        self.inner = inner
        self.spans = spans
        self.turning = turning
        self.doubt = doubt

    def init(self, tasks: int, features: int, outputs: int, predictor: F) -> State:
        """The adapter's first state K times, without scores."""
        each = self.inner.init(tasks * len(self.spans), features, outputs, predictor)
        return self._banked(each, torch.zeros(tasks, dtype=torch.int64), torch.zeros(tasks, len(self.spans)))

    def step(self, state: State, batch: Batch, predictor: F) -> State:
        """Score every state's prediction of the batch, let each forget, and refine each."""
        weight, scores = batch.weights(), state.memory[_SCORES]
        rows, bank = weight.sum(1, keepdim=True), self._bank(state)
        wide = Batch(*(self._repeated(t) for t in (batch.x, batch.y, weight)))
        with torch.no_grad():
            told = self.inner.predict(bank, wide.x, predictor).log_likelihood(wide.y)
            new = (told * wide.weights()).sum(1).view_as(scores)
            # Before any data all states are one, and their score may be too large to add to.
            scores = torch.where(state.age[:, None] > 0, scores * torch.exp(-rows / self.turning) + new, scores)
        kept = torch.exp(-rows / scores.new_tensor(self.spans)).flatten()
        faded = {k: v * kept.view(-1, *[1] * (v.dim() - 1)) for k, v in bank.memory.items() if k in _WEIGHTS}
        after = self.inner.step(State(bank.value, bank.age, {**bank.memory, **faded}), wide, predictor)
        return self._banked(after, state.age + 1, scores - scores.amax(1, keepdim=True))

    def predict(self, state: State, x: Tensor, predictor: F) -> Prediction:
        """The mixture of the bank's predictions: its mean and variance, or its class probabilities."""
        prior = torch.tensor([0.0 if math.isinf(span) else -self.doubt for span in self.spans])
        share = (state.memory[_SCORES] + prior).softmax(1)[:, :, None, None]
        each = self.inner.predict(self._bank(state), self._repeated(x), predictor)
        means = each.mean.unflatten(0, (-1, len(self.spans)))
        mean = (share * means).sum(1)
        if each.variance is None:
            return Prediction(mean)
        spread = each.variance.unflatten(0, (-1, len(self.spans))) + (means - mean.unsqueeze(1)).square()
        return Prediction(mean, (share * spread).sum(1))

    def _repeated(self, tensor: Tensor) -> Tensor:
        return tensor.repeat_interleave(len(self.spans), 0)

    def _bank(self, state: State) -> State:
        """The inner adapter's state of T·K tasks."""
        inner = {name: t.flatten(0, 1) for name, t in state.memory.items() if name != _SCORES}
        return State(state.value.flatten(0, 1), self._repeated(state.age), inner)

    def _banked(self, each: State, age: Tensor, scores: Tensor) -> State:
        def split(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (-1, len(self.spans)))

        return State(split(each.value), age, {k: split(v) for k, v in each.memory.items()} | {_SCORES: scores})
