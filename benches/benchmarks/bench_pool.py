"""The state pool: what a training iteration moves."""

import numpy as np

from amortix.data import RowStore, StatePool

WIDTH = 10_000


class Pool:
    """64 of 512 slots whose state is 10,000 numbers."""

    def setup(self):
        self.pool = StatePool(512, {"value": ((WIDTH,), np.float32)}, seed=0)
        self.slots = self.pool.draw(64)
        self.values = np.zeros((64, WIDTH), np.float32)

    def time_draw(self):
        self.pool.draw(64)

    def time_gather(self):
        self.pool.gather_into("value", self.slots, self.values)

    def time_scatter(self):
        self.pool.scatter_from("value", self.slots, self.values)

    def time_advance(self):
        self.pool.advance(self.slots, 0)


class Store:
    """100,000 rows into room for 10,000."""

    def setup(self):
        random = np.random.default_rng(0)
        self.x = random.normal(size=(512, 16)).astype(np.float32)
        self.y = random.normal(size=512).astype(np.float32)

    def time_extend(self):
        store = RowStore(16, bytes=10_000 * 4 * 17, seed=0)
        for _ in range(200):
            store.extend(self.x, self.y)
