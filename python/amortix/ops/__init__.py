"""Operations of the refinement step: one function and one file each, and the tensors' device picks the body.

A file holds the public function with its checks, the definition in plain PyTorch, and how the other two bodies are
called: CPU tensors run in Rust, CUDA tensors in this project's kernels where CuPy is installed, and everything else in
the definition. Each operation is a `torch.library.custom_op` with a fake, so that `torch.compile` sees one node. Axis
letters: `amortix.batch`.
"""

from amortix.ops._learned import UpdateNetwork, UpdateState
from amortix.ops.context_merge import MAX_KEPT, context_merge, context_merge_, squared_distance
from amortix.ops.curvature_solve import curvature_solve
from amortix.ops.curvature_step import curvature_step
from amortix.ops.curvature_update import curvature_update
from amortix.ops.learned_update import learned_update, learned_update_
from amortix.ops.local_solve import local_solve
from amortix.ops.log_evidence import log_evidence
from amortix.ops.pool_gather import pool_gather
from amortix.ops.pool_scatter import pool_scatter
from amortix.ops.prefix_gradient import mean_gradient, prefix_gradient
from amortix.ops.prefix_gradient_backward import prefix_gradient_backward
from amortix.ops.task_linear import task_linear, task_linear_query
from amortix.ops.two_term_update import two_term_update
from amortix.ops.two_term_update_backward import two_term_update_backward

__all__ = [
    "MAX_KEPT",
    "UpdateNetwork",
    "UpdateState",
    "context_merge",
    "context_merge_",
    "curvature_solve",
    "curvature_step",
    "curvature_update",
    "learned_update",
    "learned_update_",
    "local_solve",
    "log_evidence",
    "mean_gradient",
    "pool_gather",
    "pool_scatter",
    "prefix_gradient",
    "prefix_gradient_backward",
    "squared_distance",
    "task_linear",
    "task_linear_query",
    "two_term_update",
    "two_term_update_backward",
]
