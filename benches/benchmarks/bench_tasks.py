"""Task sampling: a training iteration's worth of rows of every family."""

import numpy as np

from amortix.data import FAMILIES, TaskSampler


class Sampling:
    """1,024 tasks × 32 rows with the default settings of each family."""

    params = tuple(sorted(FAMILIES))
    param_names = ("family",)

    def setup(self, family):
        self.sampler = TaskSampler(FAMILIES[family](), seed=0)
        self.tasks = np.arange(1024)
        self.steps = np.zeros(1024, np.int64)

    def time_context(self, family):
        self.sampler.context(self.tasks, self.steps, 32)

    def time_query(self, family):
        self.sampler.query(self.tasks, 32)
