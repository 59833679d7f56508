"""The state pool and the row store: what a training iteration, and a mini-batch of an adaptation, move."""

import numpy as np

from amortix.data import ByAge, RowStore, StatePool

WIDTH = 10_000


class Pool:
    """64 of 512 slots whose state is 10,000 numbers."""

    def setup(self):
        self.pool = StatePool(512, {"value": ((WIDTH,), np.float32)}, seed=0)
        self.slots = self.pool.draw(64)
        self.values = {"value": np.zeros((64, WIDTH), np.float32)}
        self.aged = StatePool(512, {}, seed=0, horizon=None, policy=ByAge())
        for age in range(9):
            self.aged.advance(range(2**age), 2**age)

    def time_draw(self):
        self.pool.draw(64)

    def time_draw_by_age(self):
        self.aged.draw(64)

    def time_gather(self):
        self.pool.gather_into(self.slots, self.values)

    def time_scatter(self):
        self.pool.scatter_from(self.slots, self.values)

    def time_advance(self):
        self.pool.advance(self.slots, 0)


class Many:
    """32,768 of 65,536 slots whose state is 1 KiB."""

    def setup(self):
        self.pool = StatePool(65_536, {"value": ((256,), np.float32)}, seed=0)
        self.slots = self.pool.draw(32_768)
        self.values = {"value": np.ones((32_768, 256), np.float32)}

    def time_gather(self):
        self.pool.gather_into(self.slots, self.values)

    def time_scatter(self):
        self.pool.scatter_from(self.slots, self.values)


class Store:
    """100,000 rows into room for 10,000, in each way of storing them."""

    params = ("float32", "float16")

    def setup(self, dtype):
        random = np.random.default_rng(0)
        self.x = random.normal(size=(512, 16)).astype(np.float32)
        self.y = random.normal(size=512).astype(np.float32)
        self.weight = random.random(512).astype(np.float32)
        self.size = 10_000 * RowStore.row_bytes(16, dtype)
        self.full = self._filled(dtype, None)

    def _filled(self, dtype, weight):
        store = RowStore(16, bytes=self.size, seed=0, dtype=dtype)
        for _ in range(200):
            store.extend(self.x, self.y, weight=weight)
        return store

    def time_extend(self, dtype):
        self._filled(dtype, None)

    def time_extend_by_weight(self, dtype):
        self._filled(dtype, self.weight)

    def time_scan(self, dtype):
        for _ in self.full.scan(512):
            pass
