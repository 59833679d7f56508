"""Half precision and decimals, from files and from memory: the nearest numbers, as other libraries have them."""

import decimal
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from amortix.data import Stream, Table, TableEncoder
from amortix.errors import SourceError

#: Every float16 that is a number, the subnormal ones and both zeros too.
HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)
HALVES = HALVES[np.isfinite(HALVES)]


def sources(tmp_path, table: pa.Table):
    """The table in memory, in a Parquet file and in an Arrow file."""
    pq.write_table(table, tmp_path / "t.parquet")
    feather.write_feather(table, tmp_path / "t.arrow", compression="zstd")
    return table, tmp_path / "t.parquet", tmp_path / "t.arrow"


def seen(source) -> np.ndarray:
    return np.concatenate([x for x, _ in Stream(Table.open(source), shuffle=False, batch=1000)])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a.view(np.uint32), b.view(np.uint32))


def test_every_float16_of_arrow_and_parquet(tmp_path):
    for source in sources(tmp_path, pa.table({"half": HALVES})):
        assert same(seen(source)[:, 0], HALVES.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float16_of_an_array(tmp_path, order):
    x = np.stack([HALVES, HALVES[::-1]], 1)
    x = np.asarray(x, order=order)
    assert same(seen(x), np.ascontiguousarray(x).astype(np.float32))
    assert same(seen(x[::3]), np.ascontiguousarray(x[::3]).astype(np.float32))
    np.save(tmp_path / "t.npy", x)
    assert same(seen(tmp_path / "t.npy"), np.ascontiguousarray(x).astype(np.float32))


def test_float16_targets_weights_and_gaps():
    x = np.arange(6, dtype=np.float16)
    ((values, y, weight),) = Stream(Table.open((x[:, None], x / 4, x)), shuffle=False, batch=6)
    assert values[:, 0].tolist() == weight.tolist() == [0, 1, 2, 3, 4, 5]
    assert y.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    whole = Table.open((x[:, None], x[::-1] % 2), classes=["1", "0"])
    assert np.concatenate([y for _, y in Stream(whole, shuffle=False)]).tolist() == [0, 1, 0, 1, 0, 1]
    assert TableEncoder.fit(Table.open(x[:, None])).width == 1
    x[3] = np.nan
    with pytest.raises(SourceError, match=r"'0' is missing \(NaN\) at row 3"):
        seen(x[:, None])
    x[3] = np.inf
    with pytest.raises(SourceError, match=r"'0' is inf at row 3"):
        seen(x[:, None])


DECIMALS = {
    "small": pa.decimal32(9, 2),
    "medium": pa.decimal64(18, 4),
    "large": pa.decimal128(38, 10),
    "whole": pa.decimal128(38, 0),
    "tiny": pa.decimal128(38, 38),
    "huge": pa.decimal256(76, 30),
}


def decimals(kind, count: int = 500) -> list[Decimal]:
    """Unscaled numbers of every length and sign, at the ends of the range too."""
    draws, digits = np.random.default_rng(0), kind.precision
    lengths = draws.integers(1, digits + 1, count)
    numbers = [int("".join(map(str, draws.integers(0, 10, n)))) * (-1) ** n for n in lengths.tolist()]
    numbers += [0, 10**digits - 1, 1 - 10**digits, 2 ** min(53, int(digits * 3.3)) + 1]
    return [Decimal(number).scaleb(-kind.scale) for number in numbers if abs(number) < 10**digits]


@pytest.mark.parametrize("name", DECIMALS)
def test_decimals_are_the_nearest_numbers(tmp_path, name):
    kind = DECIMALS[name]
    with decimal.localcontext(prec=80):
        values = [v for v in decimals(kind) if abs(v) < Decimal("3e38")]
        # `float` of a decimal is the nearest float64; float32 rounds that once more.
        expected = np.array([float(v) for v in values]).astype(np.float32)
        column = pa.array(values, kind)
    for source in sources(tmp_path, pa.table({"v": column})):
        assert same(seen(source)[:, 0], expected)
    # What pyarrow casts may be one float32 off beside the nearest one.
    cast = column.cast(pa.float64()).to_numpy().astype(np.float32)
    assert (np.abs(cast - expected) <= np.spacing(np.abs(expected))).all()


def test_decimals_that_are_missing_too_large_or_labels(tmp_path):
    values = [Decimal("1.50"), None, Decimal("3.00")]
    for source in sources(tmp_path, pa.table({"v": pa.array(values, pa.decimal64(10, 2))})):
        with pytest.raises(SourceError, match=r'"v" is missing .* at row 1'):
            seen(source)
        assert TableEncoder.fit(Table.open(source)).columns == ["v", "v is missing"]
    large = pa.table({"v": pa.array([Decimal(1), Decimal(10**40)], pa.decimal256(50, 0))})
    for source in sources(tmp_path, large):
        with pytest.raises(SourceError, match="no finite float32"):
            seen(source)
    labels = pa.table({"x": [0.0, 1.0], "y": pa.array([Decimal("2.00"), Decimal("0.50")], pa.decimal32(5, 2))})
    assert Table.open(labels, target="y").distinct_labels() == ["0.5", "2"]
