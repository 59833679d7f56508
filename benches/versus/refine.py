"""The operations of the refinement step beside PyTorch and other libraries: `python benches/versus/refine.py`."""

from __future__ import annotations

import os

import torch
from _adaptation import adaptation
from _curvature import curvature_gradients, curvature_step, curvature_wide
from _gradient import prefix_gradient, two_term_update
from _merge import context_merge, local_solve, log_evidence
from _optimizer import learned_update
from _pool_ops import pool_ops
from _table import main

if __name__ == "__main__":
    # As many threads as ours has.
    torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", "2")))
    context = [context_merge, local_solve, log_evidence]
    curvature = [curvature_step, curvature_gradients, curvature_wide]
    updates = [prefix_gradient, two_term_update, learned_update, pool_ops, adaptation]
    main(__doc__ or "", [*context, *curvature, *updates])
