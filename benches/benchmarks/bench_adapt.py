"""The main job on a table in memory: time and score of each regime."""

import numpy as np

from amortix.adapt import Adaptation
from amortix.data import Table

ROWS = 2000


class Adapt:
    """2,000 rows of 8 columns: a linear part, a wave, noise of standard deviation 0.3."""

    params = ("parametric", "explicit", "implicit")
    param_names = ("regime",)
    timeout = 300

    def setup(self, regime):
        random = np.random.default_rng(0)
        x = random.normal(size=(ROWS, 8)).astype(np.float32)
        y = x[:, 0] - 0.5 * x[:, 1] + np.sin(2 * x[:, 2]) + 0.3 * random.normal(size=ROWS)
        self.table = Table.open((x, y.astype(np.float32)))

    def adapted(self, regime):
        run = Adaptation.start(self.table, [regime])
        run.run()
        return run

    def time_adapt(self, regime):
        self.adapted(regime)

    def track_r2(self, regime):
        return next(r.metrics["r2"] for r in self.adapted(regime).results if r.regime == regime)

    track_r2.unit = "R²"
