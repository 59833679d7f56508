"""Few-shot episodes: the index of a million labels, and batches of episodes from pixels and from numbers."""

import numpy as np

from amortix.data import EpisodeSampler, ImageTasks

SETTINGS = {"ways": 5, "shots": 5, "queries": 15, "seed": 0}


class Index:
    """A million labels of 1,000 classes, in any order."""

    def setup(self):
        self.labels = np.random.default_rng(0).integers(0, 1000, 1_000_000)

    def time_index(self):
        EpisodeSampler(lambda rows: rows[:, None], self.labels, **SETTINGS)


class Episodes:
    """64 episodes of 5 ways, 5 shots and 15 queries from 32,000 rows of 784."""

    params = ("uint8", "float32")

    def setup(self, dtype):
        source = np.random.default_rng(0).integers(0, 256, (32_000, 784)).astype(dtype)
        self.sampler = EpisodeSampler(source, np.arange(32_000) // 20, scale=1 / 255, **SETTINGS)

        self.memory = self.sampler.draw(0, 64)

    def time_draw(self, dtype):
        self.sampler.draw(0, 64)

    def time_draw_into(self, dtype):
        self.sampler.draw(0, 64, out=self.memory)


class Images:
    """Mini-batches of 32 for 16 tasks of 100 columns, from 10,000 images, a fifth of their pixels inked."""

    def setup(self):
        random = np.random.default_rng(0)
        pixels = random.integers(1, 256, (10_000, 784)).astype(np.uint8) * (random.random((10_000, 784)) < 0.2)
        self.tasks = ImageTasks(pixels.astype(np.uint8), np.arange(10_000) % 10, seed=0)

    def time_context(self):
        self.tasks.context(range(16), [0] * 16, 32)
