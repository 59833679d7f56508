"""The retained context: every query carries the K rows most relevant to it, merged batch by batch.

A step merges a mini-batch into each query's rows; the reader solves a Gaussian process on them and predicts

    ŷ = a·trend(x_q) + b·GP[ y − a·trend ](x_q).

What is local closes in as rows come and never goes stale, for rows stay rows. What is global, a trend under noise that
K rows could not average out, is a delta-rule memory over all rows. Its attention weights are one, so its closed form,
the state of an adapter over few features, is the same for every query and kept once. Its dampings tell how far the
task is from linear, ever more surely as rows come; from them and from the query's own rows two gates a and b are read,
learned across tasks. Queries never see each other.

References:
    Mittal et al., arXiv 2510.11471 (implicit regime, g a sub-sampling); Gramacy and Apley, "Local Gaussian process
    approximation for large computer experiments", 2015.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from amortix import ops
from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractFeaturePredictor, AbstractKernelAdapter, AbstractMergingRefiner, Head
from amortix.errors import LearnerError
from amortix.kernel import Kernel
from amortix.latent import Latent
from amortix.merging import lend, nearest
from amortix.objectives import AbstractReadout

_OWN = ("kept_distance", "kept_x", "kept_y", "query_x")
_GATE_INPUTS = 10


@final
class RetainedContext(AbstractMergingRefiner):
    """K rows per query, read by a gated trend and a local Gaussian process.

    Args:
        adapter: carries the trend, the kernel and its sample of first rows.
        predictor: features of the trend: bias, columns, then a basis that measures what is not linear.
        readout: makes the output a prediction.
        rows: K.
        width: hidden units of the gates.
    """

    def __init__(
        self,
        adapter: AbstractKernelAdapter,
        predictor: AbstractFeaturePredictor,
        readout: AbstractReadout,
        *,
        rows: int = 64,
        width: int = 32,
    ):
        super().__init__()
        self.adapter = adapter
        self.predictor = predictor
        self.readout = readout
        self.rows = rows
        first, last = nn.Linear(_GATE_INPUTS, width), nn.Linear(width, 2)
        # Untrained, both parts count almost in full.
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 3.0)
        self.gate = nn.Sequential(first, nn.SiLU(), last)

    def init(self, query_x: Tensor, outputs: int, like: State | None = None) -> State:
        """Nothing retained, nothing seen; the kernel is that of ``like``, if given, and stays so."""
        tasks, _, columns = query_x.shape
        task = self.adapter.init(tasks, columns, outputs, self.predictor)
        return self._empty(task if like is None else lend(like, task), query_x, outputs)

    def ask(self, query_x: Tensor, fitted: State) -> State:
        """Nothing retained; kernel and trend are those of ``fitted``."""
        return self._empty(_without(fitted), query_x, fitted.memory["kept_y"].shape[3])

    def step(self, state: State, batch: Batch) -> State:
        """Merge the batch into the trend and into every query's rows."""
        distance, kept_x, kept_y, query_x = (state.memory[name] for name in _OWN)
        task = self.adapter.step(_without(state), batch, self.predictor)
        log_relevance = Kernel.from_memory(task.memory).relevance
        if not torch.equal(log_relevance, Kernel.from_memory(state.memory).relevance):
            distance, kept_x, kept_y = _remeasured(query_x, distance, kept_x, kept_y, log_relevance.exp())
        return self.recall(_with(task, distance, kept_x, kept_y, query_x), batch)

    def recall(self, state: State, batch: Batch) -> State:
        """Merge the batch into every query's rows."""
        distance, kept_x, kept_y, query_x = (state.memory[name] for name in _OWN)
        relevance = Kernel.from_memory(state.memory).relevance.exp()
        sides = self.readout.sides(batch.y, kept_y.shape[3])
        kept = ops.context_merge(query_x, batch.x, sides, relevance, distance, kept_x, kept_y, batch.weights())
        return _with(_without(state), *kept, query_x)

    def predict(self, state: State) -> Prediction:
        """Read every query."""
        distance, kept_x, kept_y, query_x = (state.memory[name] for name in _OWN)
        tasks, queries, rows, outputs = kept_y.shape
        latent, head = Latent.from_memory(state.memory), self.adapter.head(state, self.predictor)
        kernel = latent.kernel
        points = torch.cat([query_x.unsqueeze(2), kept_x], dim=2).flatten(1, 2)
        trend = head.link(self.predictor.features(points, latent) @ head.weights)
        trend, trend_kept = trend.view(tasks, queries, 1 + rows, outputs).split([1, rows], dim=2)
        trend = trend.squeeze(2)
        noise = kernel.noise.exp()
        sides = torch.cat([kept_y, trend_kept], dim=3)
        local, spread = ops.local_solve(
            query_x, kept_x, sides, distance, kernel.relevance.exp(), kernel.signal.exp(), kernel.stretch.exp(), noise
        )
        filled = (distance < torch.inf).to(trend.dtype)
        misfit = ((kept_y - trend_kept).square().mean(3) * filled).sum(2) / filled.sum(2).clamp_min(1.0)
        inputs = _gate_inputs(kernel, head, misfit, spread, filled.mean(2))
        trend_gate, local_gate = torch.sigmoid(self.gate(inputs)).unsqueeze(3).unbind(2)
        mean = trend_gate * trend + local_gate * (local[..., :outputs] - trend_gate * local[..., outputs:])
        share = local_gate.squeeze(2)
        observed = share * noise[:, None] + (1 - share) * head.noise[:, None]
        return self.readout(mean, spread, observed, share)

    def merge(self, state: State, other: State) -> State:
        """The K nearest of both states' rows, and the trends merged."""
        *kept, query_x = (state.memory[name] for name in _OWN)
        *theirs, asked = (other.memory[name] for name in _OWN)
        if not torch.equal(query_x, asked):
            raise LearnerError("only states of the same queries can be merged: init each shard with the same query_x")
        task = self.adapter.merge(_without(state), _without(other), self.predictor)
        return _with(task, *nearest((kept[0], kept[1], kept[2]), (theirs[0], theirs[1], theirs[2])), query_x)

    def _empty(self, task: State, query_x: Tensor, outputs: int) -> State:
        tasks, queries, columns = query_x.shape
        distance = torch.full((tasks, queries, self.rows), torch.inf)
        kept_x = torch.zeros(tasks, queries, self.rows, columns)
        kept_y = torch.zeros(tasks, queries, self.rows, outputs)
        return _with(task, distance, kept_x, kept_y, query_x)


def _with(task: State, distance: Tensor, kept_x: Tensor, kept_y: Tensor, query_x: Tensor) -> State:
    own = dict(zip(_OWN, (distance, kept_x, kept_y, query_x), strict=True))
    return State(task.value, task.age, {**task.memory, **own})


def _without(state: State) -> State:
    return State(state.value, state.age, {k: v for k, v in state.memory.items() if k not in _OWN})


def _remeasured(
    query_x: Tensor, distance: Tensor, kept_x: Tensor, kept_y: Tensor, relevance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The kept rows with their distances under a new relevance, nearest first."""
    squared = ((kept_x - query_x.unsqueeze(2)).square() * relevance[:, None, None]).sum(3)
    fresh, order = torch.where(distance < torch.inf, squared, torch.inf).sort(dim=2, stable=True)
    kept_x, kept_y = (t.gather(2, order.unsqueeze(3).expand_as(t)) for t in (kept_x, kept_y))
    return fresh, kept_x, kept_y


def _gate_inputs(kernel: Kernel, head: Head, misfit: Tensor, spread: Tensor, filled: Tensor) -> Tensor:
    """What the gates see, ``[T, M, 10]``: ratios of variances and bounded functions of the count, no raw scale."""
    log_noise = head.noise.clamp_min(1e-12).log()
    count = head.count
    per_task = (
        (kernel.variance - kernel.noise) / 4,
        (kernel.linear - kernel.variance) / 4,
        (kernel.signal[:, 1] - kernel.signal[:, 0]) / 4,
        (log_noise - kernel.noise) / 4,
        head.log_damping[:, 1] / 4,
        head.log_damping[:, 2] / 4,
        count / (count + 64.0),
        count / (count + 2048.0) + filled.mean(1),
    )
    per_query = (
        (misfit.clamp_min(1e-12).log() - log_noise[:, None]).clamp(-4.0, 4.0),
        (spread.clamp_min(1e-12).log() - kernel.variance[:, None]).clamp(-8.0, 0.5),
    )
    shared = torch.stack(per_task, dim=1).clamp(-4.0, 4.0)[:, None].expand(-1, misfit.shape[1], -1)
    return torch.cat([shared, torch.stack(per_query, dim=2)], dim=2)
