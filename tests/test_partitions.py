"""Directories whose folders tell columns, as `key=value`: written by other libraries, read as they read them."""

import os
import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from amortix.data import Stream, Table, TableEncoder
from amortix.errors import SourceError

ROWS = 20_000
CITIES = np.array(["Oslo", "Tromsø", "a/b = 50 %", "x y"])
SHARES = np.array([0.5, -1.0, 1e-3])


def arrow() -> pa.Table:
    n = np.arange(ROWS)
    return pa.table({"n": n, "half": n / 2 + 0.25, "year": 2000 + n % 3, "city": CITIES[n % 4], "share": SHARES[n % 3]})


def written(folder, kind: str):
    flavor = dataset.partitioning(pa.schema([("year", pa.int64()), ("city", pa.string())]), flavor="hive")
    dataset.write_dataset(arrow().drop_columns("share"), folder, format=kind, partitioning=flavor)
    return folder


def by_n(stream) -> tuple[np.ndarray, np.ndarray]:
    """All rows in the order of their first feature, and what came beside them."""
    batches = list(stream)
    x, y = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
    order = np.argsort(x[:, 0])
    return x[order], y[order]


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv"])
def test_folders_of_pyarrow_are_columns(tmp_path, kind):
    folder, n = written(tmp_path / "t", kind), np.arange(ROWS)
    table = Table.open(folder, target="city", columns=["n", "year", "half"])
    assert table.target_kind == "label"
    assert table.distinct_labels() == sorted(CITIES)
    expected = np.stack([n, 2000 + n % 3, n / 2 + 0.25], 1)
    for options in ({"shuffle": False}, {"seed": 3}, {"seed": 3, "window": 1000, "batch": 77}):
        x, y = by_n(Stream(table.with_classes(CITIES.tolist()), **options))
        assert np.array_equal(x, expected)
        assert np.array_equal(y, n % 4)
    assert Table.open(folder).columns == ["n", "half", "year", "city"]
    assert Table.open(folder, drop=["city"], target="year").columns == ["n", "half"]


def test_pandas_to_parquet(tmp_path):
    pytest.importorskip("pandas")
    frame = arrow().to_pandas()
    frame.loc[frame.n % 4 == 1, "city"] = None
    frame.to_parquet(tmp_path / "t", partition_cols=["share", "city"], index=False)
    table, n = Table.open(tmp_path / "t", target="share", drop=["city"]), np.arange(ROWS)
    assert table.target_kind == "numeric"
    x, y = by_n(Stream(table, batch=999))
    assert np.array_equal(x, np.stack([n, n / 2 + 0.25, 2000 + n % 3], 1))
    assert np.array_equal(y, SHARES[n % 3].astype(np.float32))
    again = dataset.dataset(tmp_path / "t", partitioning="hive").to_table().sort_by("n")
    assert np.array_equal(np.array(again["share"].to_pylist(), np.float32), y)
    encoder = TableEncoder.fit(Table.open(tmp_path / "t", columns=["half", "city"], target="n"))
    x, y = by_n(Stream(Table.open(tmp_path / "t", columns=["half", "city"], target="n"), encoder=encoder))
    column = {name: x[:, i] for i, name in enumerate(encoder.columns)}
    assert np.array_equal(column["city is missing"], y % 4 == 1)
    assert np.array_equal(column["city=Oslo"], y % 4 == 0)
    with pytest.raises(SourceError, match='"city" is missing'):
        Table.open(tmp_path / "t", target="city").distinct_labels()


def test_only_columns_of_folders(tmp_path):
    table = Table.open(written(tmp_path / "t", "parquet"), columns=["year"], target="city", classes=CITIES.tolist())
    batches = list(Stream(table, shuffle=False, batch=1000))
    pairs, counts = np.unique(
        np.concatenate([np.column_stack([x[:, 0], y]) for x, y in batches]), axis=0, return_counts=True
    )
    n = np.arange(ROWS)
    expected = np.unique(np.column_stack([2000 + n % 3, n % 4]), axis=0, return_counts=True)
    assert np.array_equal(pairs, expected[0])
    assert np.array_equal(counts, expected[1])


def test_large_groups_and_resumed_streams(tmp_path):
    (tmp_path / "t" / "part=7").mkdir(parents=True)
    n = np.arange(50_000)
    pq.write_table(pa.table({"n": n, "half": n / 2}), tmp_path / "t" / "part=7" / "a.parquet", row_group_size=30_000)
    table = Table.open(tmp_path / "t", columns=["half", "part", "n"])
    assert table.groups == [30_000, 20_000]
    x = np.concatenate([x for x, _ in Stream(table, shuffle=False, batch=4097)])
    assert np.array_equal(x, np.stack([n / 2, np.full(len(n), 7), n], 1))
    stream, again = (Stream(table, seed=1, window=5000, batch=3000) for _ in range(2))
    batches = iter(stream)
    next(batches)
    again.load_state_dict(stream.state_dict())
    rest = [x for x, _ in batches]
    assert all(np.array_equal(a, b) for a, (b, _) in zip(rest, again, strict=True))
    assert sum(map(len, rest)) == 47_000


def test_what_stands_for_a_directory(tmp_path):
    folder = written(tmp_path / "t", "parquet")
    for pattern in (folder / "*" / "*" / "*.parquet", f"{folder}/year=*/city=*/part-*.parquet"):
        assert Table.open(pattern).columns == ["n", "half", "year", "city"]
    # Only what is below the directory, or left open by the pattern, tells columns.
    assert Table.open(folder / "year=2000").columns == ["n", "half", "city"]
    assert Table.open(f"{folder}/year=2000/*/*.parquet").columns == ["n", "half", "city"]
    assert Table.open(sorted(folder.rglob("*.parquet"))).columns == ["n", "half"]
    again = pickle.loads(pickle.dumps(Table.open(folder, target="city")))  # noqa: S301, our own bytes
    assert (again.columns, again.target, again.groups) == (["n", "half", "year"], "city", Table.open(folder).groups)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2"], "integer"),
        (["1", "2.5"], "numeric"),
        (["1", "__HIVE_DEFAULT_PARTITION__"], "integer"),
        (["1", "nan"], "label"),
        (["1", "2x"], "label"),
        (["2024-01-01", "2024-01-02"], "label"),
    ],
)
def test_numbers_only_where_all_values_are(tmp_path, values, kind):
    for value in values:
        (tmp_path / f"k={value}").mkdir()
        (tmp_path / f"k={value}" / "t.csv").write_text("a\n1\n")
    assert Table.open(tmp_path, target="k").target_kind == kind


@pytest.mark.skipif(sys.platform != "linux", reason="names of folders are text")
def test_folders_whose_names_are_no_text(tmp_path):
    for name in (b"caf\xe9", b"k=\xe9"):
        (folder := tmp_path / os.fsdecode(name)).mkdir()
        (folder / "t.csv").write_text("a\n1\n")
        found = Table.open(folder.parent if b"=" in name else folder, columns=["a"])
        assert found.rows == 1
        (folder / "t.csv").unlink()


def test_folders_that_do_not_fit(tmp_path):
    for name in ("a/year=1", "a/year=2/city=3", "b/n=1", "c/x=1/x=2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "t.csv").write_text("n\n1\n")
    with pytest.raises(SourceError, match=r"city=3.t\.csv tell .* need the same keys"):
        Table.open(tmp_path / "a")
    with pytest.raises(SourceError, match=r'has a column "n", and lies in a folder n=… too: rename'):
        Table.open(tmp_path / "b")
    with pytest.raises(SourceError, match="two columns named 'x'"):
        Table.open(tmp_path / "c")
    feather.write_feather(pa.table({"n": [1]}), tmp_path / "a" / "year=1" / "t.feather")
    (tmp_path / "a" / "year=2" / "city=3" / "t.csv").unlink()
    assert Table.open(tmp_path / "a").columns == ["n", "year"]
