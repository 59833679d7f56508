"""The operations of the refinement step beside PyTorch and other libraries: `python benches/versus/refine.py`."""

from __future__ import annotations

import torch
from _merge import context_merge, local_solve, log_evidence
from _table import main

if __name__ == "__main__":
    torch.set_num_threads(2)
    main(__doc__ or "", [context_merge, local_solve, log_evidence])
