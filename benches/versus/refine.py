"""The operations of the refinement step beside PyTorch and other libraries: `python benches/versus/refine.py`."""

from __future__ import annotations

import torch
from _curvature import curvature_gradients, curvature_step, curvature_wide
from _merge import local_solve
from _table import main

if __name__ == "__main__":
    torch.set_num_threads(2)
    main(__doc__ or "", [curvature_step, curvature_gradients, curvature_wide, local_solve])
