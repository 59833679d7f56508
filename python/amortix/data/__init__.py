"""The data plane: task families, streams over tables, state pools, row stores. NumPy only, no torch."""

from amortix.data.encoder import EncoderSettings, TableEncoder
from amortix.data.pool import StatePool
from amortix.data.store import RowStore
from amortix.data.stream import Stream
from amortix.data.summary import TableSummary
from amortix.data.table import Table
from amortix.data.tasks import (
    FAMILIES,
    Family,
    Linear,
    Logistic,
    Mlp,
    Sinusoid,
    TaskSampler,
    family_from_dict,
)

__all__ = [
    "FAMILIES",
    "EncoderSettings",
    "Family",
    "Linear",
    "Logistic",
    "Mlp",
    "RowStore",
    "Sinusoid",
    "StatePool",
    "Stream",
    "Table",
    "TableEncoder",
    "TableSummary",
    "TaskSampler",
    "family_from_dict",
]
