"""What the tests of all bodies need to know of an operation: one module each, named as its ``.cu`` file.

A module has

- ``REGISTERS``: registers of a thread for each kernel of the file, measured. More would lower the number of resident
  blocks: growth is a decision.
- ``cases()``: names and arguments, on either side of every block size of any body.
- ``check(got, arguments)``: assert that outputs are those of the definition; see `outcome`.
- ``largest()``: arguments whose launch needs the most shared memory.
- ``crossing()``: arguments for which one block goes over several units and through every loop, so that any barrier
  that is missing shows.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent.parent
KERNELS = sorted(path.stem for path in (ROOT / "cuda").glob("*.cu"))


def case(name: str) -> ModuleType:
    """The cases of an operation."""
    return importlib.import_module(f"cases.{name}")


def operation(name: str) -> ModuleType:
    """The module of an operation; as an attribute of `amortix.ops` the name is its function."""
    return importlib.import_module(f"amortix.ops.{name}")


def outcome(outputs: Any, arguments: Any) -> Any:
    """What to check: the outputs, or the arguments of an operation that writes into them and returns nothing."""
    return arguments if outputs is None else outputs


def every() -> list[tuple[str, str]]:
    """Pairs of an operation and one of its cases, to parametrise tests with."""
    return [(name, label) for name in KERNELS for label in case(name).cases()]
