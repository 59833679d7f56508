"""Ten steps of 128 rows against one step of all 1,280, in products, seconds and memory, for several learners.

Four tasks of 64 columns and 32 queries each, adapted without gradients of an outer loss. Neither work nor memory
depend on weights, so learners of methods are not trained here. A method of gradients takes one step a mini-batch.

FLOP are those of matrix products and attention by torch's own counts, two for each multiplication; learners whose
products lie inside this project's own operations have none. Memory is the largest sum of tensors alive at once, beyond
what was there before; mini-batches count, and what an operation holds inside itself does not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from amortix import checkpoint
from amortix.batch import Batch, Prediction
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import Clock
from amortix.learner import AbstractLearner

_TASKS, _DIM, _QUERIES = 4, 64, 32
_METHODS = ("maml", "hypernetwork", "attentive-np", "markov-parametric", "markov-implicit", "gpt", "pfn")
_REGIMES = ("parametric", "explicit", "implicit")
_REPEATS = 3  # of which the fastest counts


def cells(quick: bool) -> Sequence[Cell]:
    """Learners."""
    size = {"steps": 3, "rows": 16} if quick else {"steps": 10, "rows": 128}
    bundled = [{"name": f"{name} (bundled)", "regime": name, **size} for name in _REGIMES]
    return [*bundled, *({"name": name, "method": name, **size} for name in _METHODS)]


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """What k steps of B and one step of k · B take."""
    torch.manual_seed(seed)
    if "regime" in cell:
        learner = checkpoint.load(f"{cell['regime']}-regression")
    else:
        learner = checkpoint.build({"method": cell["method"], "task": "regression", "features": _DIM})
    learner.eval().requires_grad_(False)
    rows = cell["steps"] * cell["rows"]
    x, query_x = torch.randn(_TASKS, rows, _DIM), torch.randn(_TASKS, _QUERIES, _DIM)
    data = Batch(x, torch.randn(_TASKS, rows))
    few, one = (_cost(partial(_adapted, learner, data, query_x, size)) for size in (cell["rows"], rows))
    found = {f"{k}, {cell['steps']} × {cell['rows']}": v for k, v in few.items()}
    return found | {f"{k}, 1 × {rows}": v for k, v in one.items()}


@torch.no_grad()
def _adapted(learner: AbstractLearner, data: Batch, query_x: torch.Tensor, rows: int) -> Prediction:
    query = query_x if learner.needs_queries else None
    state = learner.init(_TASKS, _DIM, 1, query)
    for x, y in zip(data.x.split(rows, 1), data.y.split(rows, 1), strict=True):
        state = learner.step(state, Batch(x.clone(), y.clone()))
    return learner.predict(state, None if learner.needs_queries else query_x)


def _cost(work: Callable[[], Any]) -> dict[str, float]:
    with _Tally() as tally:
        work()
    clocks = []
    for _ in range(_REPEATS):
        clock = Clock()
        work()
        clocks.append(clock())
    counted = {} if tally.uncounted else {"GFLOP": tally.flop / 1e9}
    return counted | {"ms": min(clocks) * 1e3, "MiB": tally.peak / 2**20}


@final
class _Tally(TorchDispatchMode):
    """FLOP by torch's formulas, the most bytes of tensors alive, and whether an operation of ours had no formula."""

    def __init__(self):
        super().__init__()
        self.flop, self.peak, self.uncounted = 0, 0, False
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at it."""
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.flop += formula(*args, **(kwargs or {}), out_val=result)
        self.uncounted |= func.namespace == "amortix"
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        self.peak = max(self.peak, sum(self._alive.values()))
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            weakref.finalize(storage, self._alive.pop, key, None)


EXPERIMENT = Experiment("What ten mini-batches cost against their rows in one", cells, measure)
