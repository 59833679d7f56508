"""Operations of the refinement step: the Rust bodies beside their definitions in PyTorch."""

import math
from types import SimpleNamespace

import torch

from amortix import ops
from amortix.ops.context_merge import definition as merge
from amortix.ops.local_solve import definition as solve

QUERIES, ROWS, COLUMNS, OUTPUTS, KEPT = 1000, 512, 16, 1, 64


class Operation:
    """1,000 queries, 512 rows, 16 columns, 64 retained rows; one task."""

    params = ("rust", "definition")
    param_names = ("body",)

    def setup(self, body):
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        definitions = SimpleNamespace(context_merge=merge, local_solve=solve)
        self.body = ops if body == "rust" else definitions
        self.query, rows = (torch.randn(1, n, COLUMNS, generator=generator) for n in (QUERIES, ROWS))
        self.rows = rows, torch.randn(1, ROWS, OUTPUTS, generator=generator)
        self.relevance = torch.full((1, COLUMNS), 1 / COLUMNS)
        empty = [torch.zeros(1, QUERIES, KEPT, width) for width in (COLUMNS, OUTPUTS)]
        empty = torch.full((1, QUERIES, KEPT), math.inf), *empty
        self.kept = ops.context_merge(self.query, *self.rows, self.relevance, *empty)

    def time_context_merge(self, body):
        self.body.context_merge(self.query, *self.rows, self.relevance, *self.kept, None)

    def time_local_solve(self, body):
        distance, x, y = self.kept
        scale = torch.ones(1)
        self.body.local_solve(self.query, x, y, distance, self.relevance, scale, 0.1 * scale)
