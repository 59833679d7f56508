"""Coverage, calibration and scores against closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import torch

from amortix import regimes
from amortix.batch import Prediction
from amortix.data import Linear, Logistic, TaskSampler
from amortix.evaluation import evaluate
from amortix.uncertainty import BINS, LEVELS, measures, summary


def test_central_intervals_of_a_normal_law_end_at_its_quantiles():
    edges = {50: 0.6744897501960817, 80: 1.2815515655446004, 95: 1.959963984540054}
    for level, edge in edges.items():
        y = torch.tensor([[edge - 1e-3, edge + 1e-3, -edge + 1e-3, -edge - 1e-3]]) * 3 + 1
        found = measures(Prediction(torch.ones(1, 4, 1), torch.full((1, 4, 1), 9.0)), y)
        assert found[f"coverage_{level}"].tolist() == [0.5], level


def test_the_log_score_is_the_mean_log_density():
    normal = torch.distributions.Normal(torch.tensor([[0.5, -1.0]]), torch.tensor([[2.0, 0.3]]))
    y = torch.tensor([[1.0, -1.2]])
    found = measures(Prediction(normal.loc.unsqueeze(2), normal.variance.unsqueeze(2)), y)
    assert found["log_score"][0] == pytest.approx(normal.log_prob(y).mean().item(), rel=1e-6)


def test_scores_of_classes_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(3), 500), rng.integers(0, 3, 500)
    found = summary(measures(Prediction(torch.tensor(p)[None]), torch.tensor(y)[None]))
    assert -found["log_score"] == pytest.approx(metrics.log_loss(y, p))


def test_the_calibration_error_by_hand():
    """Two bins: three predictions of .75, one of them right; one of .55, right; |2.25 - 1| + |.55 - 1| over four."""
    sure = torch.tensor([0.75, 0.75, 0.75, 0.55])
    y = torch.tensor([[0, 1, 1, 0]])
    found = summary(measures(Prediction(torch.stack([sure, 1 - sure], 1)[None]), y))
    assert found["calibration_error"] == pytest.approx((1.25 + 0.45) / 4)
    certain = measures(Prediction(torch.tensor([[[1.0, 0.0]]])), torch.tensor([[0]]))
    assert certain["bins"][0, BINS - 1].tolist() == [1, 1, 1]


def test_bins_are_of_all_tasks_together():
    """Each task is off by as much, one way and the other: together they are calibrated."""
    p = torch.tensor([[[0.75, 0.25]] * 4] * 2)
    y = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]])
    assert summary(measures(Prediction(p), y))["calibration_error"] == pytest.approx(0.0)


def test_oracles_cover_what_they_say():
    """The linear oracle is exact: 3,200 targets, within four standard errors. That of a softmax is a mode: close."""
    (row,) = evaluate(regimes.parametric(), TaskSampler(Linear(), seed=3), steps=[2], tasks=50, batch=16)
    for level in LEVELS:
        share = level / 100
        assert abs(row[f"oracle_coverage_{level}"] - share) < 4 * math.sqrt(share * (1 - share) / 3200)
    assert row["log_score"] <= row["oracle_log_score"] + 0.01
    (row,) = evaluate(regimes.parametric("classification"), TaskSampler(Logistic(), seed=3), steps=[20], tasks=50)
    assert 0 < row["oracle_calibration_error"] < 0.03
    assert "coverage_50" not in row
