"""Operations of the refinement step: the Rust bodies beside their definitions in PyTorch."""

import math
from types import SimpleNamespace

import torch

from amortix import ops
from amortix.ops.context_merge import definition as merge
from amortix.ops.local_solve import definition as solve
from amortix.ops.prefix_gradient import definition as gradient
from amortix.ops.two_term_update import definition as update

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
        signal, scale = torch.full((1, 2), 0.5), torch.ones(1)
        self.body.local_solve(self.query, x, y, distance, self.relevance, signal, scale, 0.1 * scale)


class Gradients:
    """256 tasks of 128 rows and 32 columns, one output; 4,096 states of 64 parameters, rank 4, forward and backward."""

    params = ("rust", "definition")
    param_names = ("body",)

    def setup(self, body):
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        self.rows = [torch.randn(256, *shape, generator=generator) for shape in ((32, 1), (128, 32), (128,))]
        self.prefixes = ops.prefix_gradient if body == "rust" else lambda *rows: gradient(*rows, None, 128)
        self.update = ops.two_term_update if body == "rust" else update
        shapes = [(4096, 64)] * 7 + [(4096, 64, 4), (4096,)]
        self.state = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
        self.state += [torch.ones(4096, requires_grad=True), torch.full((4096,), 3.0)]

    def time_prefix_gradient(self, body):
        self.prefixes(*self.rows)

    def time_two_term_update(self, body):
        outputs = self.update(*self.state)
        torch.autograd.grad(outputs, self.state[:-1], outputs)
