"""Directories that appear whole or not at all, and the layout of a saved directory.

A saved directory holds ``amortix.json`` (what it is, how it came about), ``tensors.safetensors`` (every
array, its name prefixed by whose it is) and one ``learner-<regime>.safetensors`` per learner, so that it
needs nothing else. No pickle anywhere: reading a directory runs no code of whoever wrote it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortix import __version__
from amortix.data.writing import saying, sync
from amortix.errors import ConfigError, FormatError

SCHEMA = 2
"""Version of the layout; raised when an older release could no longer read what this one writes."""

META = "amortix.json"
TENSORS = "tensors.safetensors"


def check_target(path: Path) -> None:
    """Refuse, before any work is done, a save directory that could not be written or that holds other things.

    Raises:
        ConfigError: ``path`` is a file, or a directory with other content, or its parent cannot be
            written to.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"cannot save to {path}: it is a file; name a new or an empty directory")
    if path.is_dir() and any(path.iterdir()) and not (path / META).is_file():
        raise ConfigError(f"cannot save to {path}: it holds other files; name a new or an empty directory")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ConfigError(f"cannot save to {path}: {existing} cannot be written to; choose another place")


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """A new directory to fill, which takes the place of ``path`` at the end, or vanishes on any error.

    Raises:
        ConfigError: see `check_target`.
        OSError: it could not be written; the message says what failed and that nothing was left half-written.
    """
    check_target(path)
    path = path.absolute()
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    try:
        with saying(path):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            yield fresh
            for file in (*fresh.iterdir(), fresh):
                sync(file)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            fresh.rename(path)
            sync(path.parent)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write(directory: Path, meta: Mapping[str, Any], tensors: Mapping[str, NDArray]) -> None:
    """Write ``amortix.json`` and ``tensors.safetensors`` into a directory that is being filled."""
    from safetensors.numpy import save

    head = {"schema": SCHEMA, "amortix": __version__}
    text = json.dumps(head | finite(meta), indent=1, allow_nan=False, ensure_ascii=False)
    # Serialised in memory and written here: the library's own writer hides the system's reason to fail.
    (directory / TENSORS).write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))
    (directory / META).write_text(text + "\n", encoding="utf-8")


def read(directory: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read what `write` wrote.

    Raises:
        FormatError: there is no such directory, it is damaged, or its schema is of a later release.
    """
    meta = read_meta(directory)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return meta, load_file(directory / TENSORS)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        message = f"{directory / TENSORS} is missing or damaged ({error}); save the model again"
        raise FormatError(message) from None


def read_meta(directory: Path) -> dict[str, Any]:
    """Read and check ``amortix.json``; errors as in `read`."""
    file = directory / META
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        schema = meta["schema"]
    except OSError as error:
        message = f"{directory} is no saved model: cannot read {META} ({error.strerror}); check the path"
        raise FormatError(message) from None
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{file} is damaged; save the model again") from None
    if schema != SCHEMA:
        raise FormatError(
            f"{directory} was written with schema {schema} by amortix {meta.get('amortix', '?')}; "
            f"this is amortix {__version__}, which reads schema {SCHEMA}: upgrade amortix"
        )
    return meta


def prefixed(prefix: str, tensors: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays under ``prefix/``; the inverse of `under`."""
    return {f"{prefix}/{name}": array for name, array in tensors.items()}


def under(prefix: str, tensors: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays whose names begin with ``prefix/``, without it."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(f"{prefix}/")}


def finite(value: Any) -> Any:
    """A JSON value with every NaN and infinity replaced by None, which JSON can say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
