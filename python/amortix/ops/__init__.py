"""Operations of the refinement step: one function and one file each, and the tensors' device picks the body.

A file holds the public function with its checks, the definition in plain PyTorch, and how the other two bodies are
called: CPU tensors run in Rust, CUDA tensors in this project's kernels where CuPy is installed, and everything else in
the definition. Each operation is a `torch.library.custom_op` with a fake, so that `torch.compile` sees one node. Axis
letters: `amortix.batch`.
"""

from amortix.ops.context_merge import MAX_KEPT, context_merge, context_merge_, squared_distance
from amortix.ops.local_solve import local_solve
from amortix.ops.log_evidence import log_evidence

__all__ = ["MAX_KEPT", "context_merge", "context_merge_", "local_solve", "log_evidence", "squared_distance"]
