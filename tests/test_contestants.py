"""Ways to use a learner on a stream, each against what it is said to do."""

from typing import Any

import numpy as np
import pytest
import torch

from amortix import regimes
from amortix.batch import Batch
from amortix.data import Linear, TaskSampler
from amortix.experiments.baselines import EXPERIMENT
from amortix.experiments.contestants import Averaged, Contestant, OnFirst, OnSample, Streamed

IDS = np.arange(3)
SAMPLER = TaskSampler(Linear(dim=(4, 4)), seed=1)
QUERY = torch.from_numpy(SAMPLER.query(IDS, 6)[0])


def batches(count: int) -> list[Batch]:
    return [Batch(*map(torch.from_numpy, SAMPLER.context(IDS, np.full(3, step), 16))) for step in range(count)]


@torch.no_grad()
def told(contestant: Contestant, seen: list[Batch]) -> torch.Tensor:
    for batch in seen:
        contestant.see(batch)
    return contestant.predict(QUERY).mean


@torch.no_grad()
def one_shot(batch: Batch) -> torch.Tensor:
    learner = regimes.parametric()
    return learner.predict(learner.step(learner.init(3, 4), batch), QUERY).mean


def test_a_stream_and_all_rows_at_once_are_the_same_moments():
    learner, seen = regimes.parametric(), batches(5)
    streamed, at_once = told(Streamed(learner, QUERY, 1), seen), told(OnSample(learner, 1, None), seen)
    torch.testing.assert_close(streamed, at_once, rtol=1e-4, atol=1e-4)


def test_one_shot_sees_the_first_mini_batch_alone():
    seen = batches(3)
    assert torch.equal(told(OnFirst(regimes.parametric(), QUERY, 1), seen), one_shot(seen[0]))


def test_averaged_predictions_are_means_of_one_shot_each():
    seen = batches(3)
    expected = torch.stack([one_shot(batch) for batch in seen]).mean(0)
    torch.testing.assert_close(told(Averaged(regimes.parametric(), QUERY, 1), seen), expected)


def test_a_sample_has_as_many_rows_as_were_asked_and_comes_from_all_of_them():
    learner, seen, shown = regimes.parametric(), batches(4), []

    class Watched(torch.nn.Module):
        needs_queries = False
        init, predict = learner.init, learner.predict

        def step(self, state, batch):
            shown.append(batch)
            return learner.step(state, batch)

    watched: Any = Watched()
    told(OnSample(watched, 1, 20, seed=3), seen)
    (batch,) = shown
    assert batch.x.shape == (3, 20, 4)
    rows = torch.cat([one.x for one in seen], 1)[0]
    places = [int((rows == row).all(1).nonzero()) for row in batch.x[0]]
    assert len(set(places)) == 20
    assert max(places) >= 48  # the last mini-batch is among them
    assert min(places) < 16


def test_queries_of_a_query_state_are_those_it_was_made_for():
    learner, seen = regimes.implicit(rows=8, size=8, sample=16, ascent=2), batches(2)
    for contestant in (Streamed(learner, QUERY, 1), OnFirst(learner, QUERY, 1), OnSample(learner, 1, 8)):
        assert told(contestant, seen).shape == (3, 6, 1)


@pytest.mark.parametrize("way", ["parametric (bundled)", "closed form", "MAP on all rows"])
def test_ways_without_training_are_near_the_closed_form(way: str):
    """Excess of the 9 parameters of a linear task of noise .5 on 640 rows: about 9 · .25 / 640.

    Over 32 tasks that sum of squares scatters by a twelfth; .3 is more than three times that.
    """
    (cell,) = [cell for cell in EXPERIMENT.cells(True) if cell["name"] == f"linear, {way}"]
    found = EXPERIMENT.measure({**cell, "tasks": 32}, 0)
    assert found["k = 20"] == pytest.approx(9 * 0.25 / 640, rel=0.3)
