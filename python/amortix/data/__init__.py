"""The data plane: tables, encoders, streams, task families, state pools, row stores. NumPy only, no torch."""

from amortix.data.encoder import EncoderSettings, TableEncoder
from amortix.data.episodes import Episodes, EpisodeSampler
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
    Tabular,
    Tree,
    family_from_dict,
)
from amortix.data.image_tasks import Images, ImageTasks
from amortix.data.images import Omniglot, read_idx, read_omniglot
from amortix.data.iterable import IterableStream
from amortix.data.pool import ByAge, StatePool, Uniform
from amortix.data.stack import StreamStack
from amortix.data.store import RowStore
from amortix.data.stream import Stream
from amortix.data.summary import TableSummary
from amortix.data.table import Table
from amortix.data.tasks import ColumnFacts, Sampler, TaskSampler, normals

__all__ = [
    "FAMILIES",
    "ByAge",
    "Causal",
    "ColumnFacts",
    "EncoderSettings",
    "EpisodeSampler",
    "Episodes",
    "Family",
    "Gmm",
    "Gp",
    "ImageTasks",
    "Images",
    "IterableStream",
    "Linear",
    "Logistic",
    "Mlp",
    "Omniglot",
    "RowStore",
    "Sampler",
    "Sinusoid",
    "StatePool",
    "Stream",
    "StreamStack",
    "Table",
    "TableEncoder",
    "TableSummary",
    "Tabular",
    "TaskSampler",
    "Tree",
    "Uniform",
    "family_from_dict",
    "normals",
    "read_idx",
    "read_omniglot",
]
