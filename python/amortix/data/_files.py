"""Arrays with their settings in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortix.data.writing import replacing_file
from amortix.errors import FormatError

_SCHEMA = 1
_CODES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "uint64": "U64"}


def write_arrays(path: str | Path, kind: str, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays one after the other: the library would first make one block of bytes of all of them.

    Args:
        path: the file; what is there already is replaced at the end.
        kind: of the object that the arrays belong to.
        settings: its settings, fit for JSON.
        arrays: by name; float16, float32, float64, int64 or uint64.

    Raises:
        OSError: the disk is full or the place cannot be written.
    """
    # One key of metadata holds all: the order of several is not fixed by the format.
    meta = {"schema": _SCHEMA, "kind": kind, "settings": dict(settings)}
    head: dict[str, Any] = {"__metadata__": {"amortix": json.dumps(meta, ensure_ascii=False)}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        head[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(head, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing_file(Path(path)) as fresh, fresh.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read_arrays(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The settings and arrays that `write_arrays` wrote.

    Raises:
        FormatError: the file is missing, damaged, of another kind or of a later schema.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            meta = json.loads((file.metadata() or {})["amortix"])
            found = meta["schema"], meta["kind"]
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        settings = dict(meta["settings"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read as a saved {kind} ({error}): check the path, or save it again"
        ) from None
    if found != (_SCHEMA, kind):
        raise FormatError(f"{path} holds a {found[1]} of schema {found[0]}, not a {kind} of schema {_SCHEMA}")
    return settings, arrays
