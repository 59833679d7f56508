"""The data plane: task families, streams over tables, state pools, row stores. NumPy only, no torch."""

from amortix.data.episodes import Episodes, EpisodeSampler
from amortix.data.image_tasks import Images, ImageTasks
from amortix.data.images import Omniglot, read_idx, read_omniglot
from amortix.data.pool import ByAge, StatePool, Uniform
from amortix.data.store import RowStore
from amortix.data.stream import Stream
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
    "ByAge",
    "EpisodeSampler",
    "Episodes",
    "Family",
    "ImageTasks",
    "Images",
    "Linear",
    "Logistic",
    "Mlp",
    "Omniglot",
    "RowStore",
    "Sinusoid",
    "StatePool",
    "Stream",
    "Table",
    "TaskSampler",
    "Uniform",
    "family_from_dict",
    "read_idx",
    "read_omniglot",
]
