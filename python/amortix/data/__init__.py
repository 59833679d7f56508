"""The data plane: task families, streams over tables, state pools, row stores. NumPy only, no torch."""

from amortix.data.families import (
    FAMILIES,
    Causal,
    Family,
    Gmm,
    Gp,
    Linear,
    Logistic,
    Mlp,
    Sinusoid,
    Tree,
    family_from_dict,
)
from amortix.data.pool import StatePool
from amortix.data.store import RowStore
from amortix.data.stream import Stream
from amortix.data.table import Table
from amortix.data.tasks import TaskSampler, normals

__all__ = [
    "FAMILIES",
    "Causal",
    "Family",
    "Gmm",
    "Gp",
    "Linear",
    "Logistic",
    "Mlp",
    "RowStore",
    "Sinusoid",
    "StatePool",
    "Stream",
    "Table",
    "TaskSampler",
    "Tree",
    "family_from_dict",
    "normals",
]
