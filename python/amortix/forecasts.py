"""Predictions for a whole table, written row by row in its order to Parquet, CSV or .npy.

For regression the columns are ``prediction`` and ``variance`` (of a new observation); for classification
``prediction`` (the most probable label) and ``probability_<label>``. A .npy file holds the numbers alone,
float64 ``[rows, columns]``: mean and variance, or the probabilities in the order of the classes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortix.data.writing import replacing_file
from amortix.errors import ConfigError
from amortix.model import AdaptedModel
from amortix.stacking import Forecast

Columns = dict[str, NDArray[Any]]


def check_out(path: Path) -> None:
    """Refuse, before any work is done, an output that could not be written: `ConfigError`."""
    if path.suffix not in _WRITERS:
        raise ConfigError(f"cannot write {path}: name a file that ends in {', '.join(_WRITERS)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no directory {path.parent}")
    if path.suffix == ".parquet":
        _pyarrow()


def write_forecasts(path: Path, model: AdaptedModel, forecasts: Iterable[Forecast], rows: int) -> None:
    """Write predictions whole or not at all.

    Args:
        path: ends in .parquet, .csv or .npy.
        model: that made them; its classes name the columns.
        forecasts: in chunks, in order.
        rows: of all chunks together.

    Raises:
        ConfigError: the suffix is another, or pyarrow is missing for Parquet.
        OSError: the disk is full or the place cannot be written.
    """
    check_out(path)
    with replacing_file(path) as fresh:
        _WRITERS[path.suffix](fresh, (_columns(model, part) for part in forecasts), rows)


def _columns(model: AdaptedModel, part: Forecast) -> Columns:
    if model.classes is None:
        assert part.variance is not None, "a regression learner gives a variance"
        return {"prediction": part.mean, "variance": part.variance}
    labels = np.asarray(model.classes)[part.mean.argmax(axis=1)]
    shares = {f"probability_{name}": part.mean[:, i] for i, name in enumerate(model.classes)}
    return {"prediction": labels} | shares


def _write_csv(path: Path, parts: Iterable[Columns], rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, part in enumerate(parts):
            if number == 0:
                writer.writerow(part)
            writer.writerows(zip(*(column.tolist() for column in part.values()), strict=True))


def _write_npy(path: Path, parts: Iterable[Columns], rows: int) -> None:
    with path.open("wb") as file:
        for number, part in enumerate(parts):
            numbers = np.stack([c for c in part.values() if c.dtype.kind == "f"], axis=1).astype("<f8")
            if number == 0:
                head = {"descr": "<f8", "fortran_order": False, "shape": (rows, numbers.shape[1])}
                np.lib.format.write_array_header_1_0(file, head)
            file.write(numbers.tobytes())


def _write_parquet(path: Path, parts: Iterable[Columns], rows: int) -> None:
    pa, writer_of = _pyarrow()
    writer = None
    try:
        for part in parts:
            batch = pa.table({name: pa.array(column) for name, column in part.items()})
            writer = writer or writer_of(path, batch.schema, compression="zstd")
            writer.write_table(batch)
    finally:
        if writer is not None:
            writer.close()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        message = "writing Parquet needs pyarrow: pip install pyarrow, or write .csv or .npy"
        raise ConfigError(message) from None
    return pyarrow, ParquetWriter


_WRITERS: dict[str, Callable[[Path, Iterable[Columns], int], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".npy": _write_npy,
}
