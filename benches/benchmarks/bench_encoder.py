"""Table encoders: one pass to fit, and encoding, 100,000 rows of 16 columns of several kinds."""

import numpy as np

from amortix.data import EncoderSettings, Table, TableEncoder

ROWS = 100_000


def mixed() -> np.ndarray:
    """Eight columns of numbers, two of them with gaps; four flags; four columns of up to 1,000 categories."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(ROWS, 8))
    numbers[rng.random(ROWS) < 0.05, :2] = np.nan
    flags = rng.random((ROWS, 4)) < 0.2
    categories = np.floor(rng.random((ROWS, 4)) ** 4 * 1000)
    return np.hstack([numbers, flags, categories]).astype(np.float32)


class Encoder:
    """An array in memory; by default numbers are standardised."""

    params = ("standard", "normal")
    param_names = ("scale",)

    def setup(self, scale):
        self.x = mixed()
        self.table = Table.open(self.x)
        self.settings = EncoderSettings(scale=scale, categories=("12", "13", "14", "15"))
        self.encoder = TableEncoder.fit(self.table, self.settings)
        self.out = np.empty((ROWS, self.encoder.width), np.float32)
        assert self.encoder.width == 8 + 2 + 4 + 4 * 17

    def time_fit(self, scale):
        TableEncoder.fit(self.table, self.settings)

    def time_transform(self, scale):
        self.encoder.transform(self.x, self.out)
