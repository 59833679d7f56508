"""What all tests share: one thread per process, one hypothesis profile, and data that may be missing."""

import os
from pathlib import Path

# Before anything loads torch: the tensors here are small, and threads would only fight for the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

# The same examples in every run, so that a failure seen once is seen again; no deadline, since the first call
# of anything loads torch.
settings.register_profile("amortix", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("amortix")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def california() -> Path:
    """The California housing table; skips where it is neither cached nor to be had."""
    from amortix import datasets
    from amortix.errors import SourceError

    try:
        return datasets.fetch("california_housing")
    except SourceError as error:
        pytest.skip(str(error))
