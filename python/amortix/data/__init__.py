"""The data plane: task families, streams over tables, state pools, row stores. NumPy only, no torch."""

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
    "Family",
    "Linear",
    "Logistic",
    "Mlp",
    "Sinusoid",
    "TaskSampler",
    "family_from_dict",
]
