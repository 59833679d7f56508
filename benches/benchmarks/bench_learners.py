"""Learners: the time of a step and of a prediction, and how good the bundled weights are."""

import numpy as np
import torch

from amortix.batch import Batch
from amortix.checkpoint import bundled, load
from amortix.data import Linear, Logistic, TaskSampler
from amortix.evaluation import evaluate

STEPS = (1, 10, 100)


class Step:
    """One mini-batch of 512 rows of 8 columns, 1,000 queries, one task."""

    params = tuple(bundled())
    param_names = ("learner",)

    def setup(self, name):
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        self.learner = load(name)
        family = Linear() if self.learner.task == "regression" else Logistic(dim=(8, 8))
        sampler = TaskSampler(family, seed=1)
        task = np.zeros(1, np.int64)
        self.batch = Batch(*map(torch.from_numpy, sampler.context(task, task, 512)))
        self.x = torch.from_numpy(sampler.query(task, 1000)[0])
        self.queries = self.x if self.learner.needs_queries else None
        state = self.learner.init(1, sampler.features, sampler.outputs, self.queries)
        # Past the steps in which a learner looks for the task's kernel.
        for _ in range(3):
            state = self.learner.step(state, self.batch)
        self.state = state

    def time_step(self, name):
        self.learner.step(self.state, self.batch)

    def time_predict(self, name):
        self.learner.predict(self.state, None if self.learner.needs_queries else self.x)


class Excess:
    """Excess risk of the bundled learners over the oracle's: 8 columns, mini-batches of 32, 64 tasks."""

    params = (tuple(bundled()), STEPS)
    param_names = ("learner", "step")
    timeout = 600

    def setup_cache(self):
        torch.set_num_threads(1)
        ratios = {}
        for name in bundled():
            learner = load(name)
            family = Linear() if learner.task == "regression" else Logistic(dim=(8, 8))
            rows = evaluate(learner, TaskSampler(family, seed=10_001), steps=STEPS, tasks=64, points=32)
            ratios |= {(name, row["step"]): row["ratio"] for row in rows}
        return ratios

    setup_cache.timeout = 600

    def track_ratio(self, ratios, name, step):
        return ratios[name, step]

    track_ratio.unit = "oracle's excess risk"
