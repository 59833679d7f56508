"""Where rows can come from: every kind of file, and the memory of other libraries."""

import gzip
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from amortix.data import Stream, Table, TableEncoder
from amortix.errors import ConfigError, FormatError, SourceError

ROWS = 30_000


def arrow(rows: int = ROWS) -> pa.Table:
    """n is the row, half is n / 2, flag is whether n is odd, y = 3 n."""
    n = np.arange(rows)
    return pa.table({"n": n, "half": n / 2, "flag": n % 2 == 1, "y": (3 * n).astype(np.float32)})


def check(table: Table, rows: int = ROWS) -> None:
    """All rows come, once each, whole, in and out of order."""
    for options in ({"shuffle": False}, {"seed": 3}, {"seed": 3, "window": 1000}):
        batches = list(Stream(table, batch=700, **options))
        x, y = np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])
        order = np.argsort(x[:, 0])
        assert options["shuffle"] is False if "shuffle" in options else not np.array_equal(order, np.arange(rows))
        n = np.arange(rows, dtype=np.float32)
        assert np.array_equal(x[order], np.stack([n, n / 2, n % 2], 1))
        assert np.array_equal(y, 3 * x[:, 0])


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """The table as CSV text."""
    frame = arrow().to_pandas()
    return frame.to_csv(index=False).encode()


@pytest.mark.parametrize("codec", [None, "snappy", "zstd", "gzip", "brotli", "lz4"])
def test_parquet(tmp_path, codec):
    pq.write_table(arrow(), tmp_path / "t.parquet", row_group_size=9000, compression=codec or "none")
    check(Table.open(tmp_path / "t.parquet", target="y"))


@pytest.mark.parametrize("codec", ["uncompressed", "lz4", "zstd"])
def test_arrow_files(tmp_path, codec):
    feather.write_feather(arrow(), tmp_path / "t.feather", compression=codec, chunksize=9000)
    table = Table.open(tmp_path / "t.feather", target="y")
    assert table.groups == [9000, 9000, 9000, 3000]
    check(table)


def test_csv_plain_and_compressed(tmp_path, csv):
    import pyarrow

    (tmp_path / "t.csv").write_bytes(csv)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(csv))
    with pyarrow.output_stream(tmp_path / "t.csv.zst", compression="zstd") as out:
        out.write(csv)
    for name in ("t.csv", "t.csv.gz", "t.csv.zst"):
        check(Table.open(tmp_path / name, target="y"))
    for name in ("t.csv.gz", "t.csv.zst"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FormatError, match="damaged or truncated"):
            Table.open(tmp_path / f"cut-{name}")


def test_many_files_are_one_table(tmp_path):
    table = arrow()
    folder = tmp_path / "parts"
    folder.mkdir()
    paths = [folder / f"part-{i}.parquet" for i in range(4)]
    for i, path in enumerate(paths):
        pq.write_table(table.slice(i * 7500, 7500), path)
    for given in (paths, [str(path) for path in paths], folder, folder / "part-*.parquet", f"{folder}/*.parquet"):
        check(Table.open(given, target="y"))
    pq.write_table(table.rename_columns(["n", "other", "flag", "y"]), folder / "part-9.parquet")
    with pytest.raises(SourceError, match=r"part-9.parquet has the column \"other\""):
        Table.open(folder)
    pq.write_table(table.drop_columns("y"), folder / "part-9.parquet")
    with pytest.raises(SourceError, match=r"part-9.parquet has 3 columns"):
        Table.open(folder)
    with pytest.raises(SourceError, match="matches no file"):
        Table.open(folder / "none-*.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no table"):
        Table.open(tmp_path / "empty")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("folders", [("", ""), ("k=1", "k=2")])
def test_a_column_may_be_whole_in_some_files_only(tmp_path, order, folders):
    texts = ("n,label,y\n1,2,5\n9007199254740993,3,6\n", "n,label,y\n-2.5,2.0,7\n4,3.0,8.5\n")
    paths = [tmp_path / folder / name for folder, name in zip(folders, ("a.csv", "b.csv"), strict=True)]
    for path, place in zip(paths, order, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[place])
    table = Table.open(tmp_path, target="y", columns=["n", "label"])
    assert table.target_kind == "numeric"
    x, y = (np.concatenate(parts) for parts in zip(*Stream(table, batch=1), strict=True))
    at = np.argsort(y)
    assert np.array_equal(x[at], np.array([[1, 2], [2.0**53, 3], [-2.5, 2], [4, 3]], np.float32))
    assert np.array_equal(y[at], [5, 6, 7, 8.5])
    # A label is the same, whole or not.
    labels = Table.open(tmp_path, target="label", columns=["n"])
    assert labels.distinct_labels() == ["2", "3"]
    y = np.concatenate([y for _, y in Stream(labels.with_classes(["2", "3"]))])
    assert sorted(y) == [0, 0, 1, 1]
    encoder = TableEncoder.fit(Table.open(table.given, columns=["n", "y"]))
    assert [field.kind for field in encoder.fields] == ["number", "number"]
    assert encoder.fields[1].facts.mean == pytest.approx(26.5 / 4)
    paths[0].write_text("n,label,y\nmany,2,5\n")
    with pytest.raises(SourceError, match=r'"n" of (text|numbers|whole numbers) .* "n" of (text|numbers|whole)'):
        Table.open(paths)


def test_the_memory_of_other_libraries():
    duckdb, pandas, polars = (pytest.importorskip(name) for name in ("duckdb", "pandas", "polars"))
    table = arrow()
    connection = duckdb.connect()
    connection.register("t", table)
    for data in (
        table,
        table.combine_chunks().to_batches()[0],
        pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=4000)),
        polars.from_arrow(table),
        pandas.DataFrame(table.to_pandas()),
        connection.sql("select * from t order by n"),
    ):
        check(Table.open(data, target="y"))


def test_arrow_memory_is_not_copied():
    values = np.arange(4_000_000, dtype=np.float32)
    before = pa.total_allocated_bytes()
    table = Table.open(pa.table({"x": values}))
    assert pa.total_allocated_bytes() - before < values.nbytes / 10
    assert next(iter(Stream(table, shuffle=False, batch=3)))[0].tolist() == [[0], [1], [2]]


def test_tensors_are_lent_by_dlpack():
    torch = pytest.importorskip("torch")
    x, y = torch.arange(600.0).reshape(200, 3), torch.arange(200.0)
    table = Table.open((x, y))
    batch, target = next(iter(Stream(table, batch=200, shuffle=False)))
    assert np.array_equal(batch, x.numpy())
    assert np.array_equal(target, y.numpy())
    x[0, 0] = 7
    assert next(iter(Stream(table, batch=1, shuffle=False)))[0][0, 0] == 7


def test_dictionaries_views_and_times_are_read():
    day = pa.array([0, 86_400_000_000, None], pa.timestamp("us"))
    word = pa.array(["a", None, "b"])
    data = pa.table(
        {
            "day": day,
            "dictionary": word.dictionary_encode(),
            "view": word.cast(pa.string_view()),
            "large": word.cast(pa.large_string()),
            "amount": pa.array([1, 2, 3], pa.int32()).cast(pa.decimal128(12, 2)),
            "small": pa.array([1.0, 2.0, 3.0], pa.float16()),
        }
    )
    table = Table.open(data, columns=["amount", "small"])
    assert next(iter(Stream(table, shuffle=False)))[0].tolist() == [[1, 1], [2, 2], [3, 3]]
    for name in ("dictionary", "view", "large"):
        with pytest.raises(SourceError, match=f'"{name}" holds text'):
            next(iter(Stream(Table.open(data, columns=[name]))))
        target = Table.open(data.slice(0, 1), columns=["amount"], target=name)
        assert target.distinct_labels() == ["a"]
    with pytest.raises(SourceError, match="dates or times"):
        next(iter(Stream(Table.open(data, columns=["day"]))))


def test_weights_come_with_the_rows():
    x, weight = np.arange(50.0)[:, None], np.arange(50.0)
    table = Table.open((x, x[:, 0], weight))
    assert table.columns == ["0"]
    assert table.weight == "weight"
    for data, options in (
        ((x, x[:, 0], weight), {}),
        (pa.table({"x": x[:, 0], "y": x[:, 0], "w": weight}), {"target": "y", "weight": "w"}),
    ):
        seen = [(x[:, 0], w) for x, y, w in Stream(Table.open(data, **options), batch=8)]
        assert all(np.array_equal(x, w) for x, w in seen)
        assert sum(len(w) for _, w in seen) == 50
    weight[7] = -1
    with pytest.raises(SourceError, match=r"weight .* at row 7 is negative"):
        list(Stream(Table.open((x, x[:, 0], weight))))
    with pytest.raises(SourceError, match=r"weight .* at row 7 is negative"):
        list(Stream(Table.open(pa.table({"x": weight, "w": weight}), weight="w")))


def test_an_encoder_makes_one_matrix_of_a_mixed_file(tmp_path):
    n = np.arange(4000)
    data = pa.table(
        {
            "n": pa.array(n, mask=n % 10 == 0),
            "word": pa.array(np.array(["red", "green", "blue"])[n % 3]),
            "flag": pa.array(n % 2 == 0),
            "day": pa.array(n * 3600, pa.timestamp("s")),
            "y": n.astype(np.float64),
        }
    )
    pq.write_table(data, tmp_path / "t.parquet", row_group_size=1500)
    for source in (tmp_path / "t.parquet", data):
        table = Table.open(source, target="y")
        encoder = TableEncoder.fit(table)
        stream = Stream(table, encoder=encoder, batch=999, seed=1)
        batches = list(stream)
        x, y = np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches]).astype(int)
        assert stream.columns == encoder.columns
        assert x.shape == (4000, encoder.width)
        assert np.isfinite(x).all()
        column = {name: x[:, i] for i, name in enumerate(encoder.columns)}
        assert np.array_equal(column["word=red"], (y % 3 == 0).astype(np.float32))
        assert np.array_equal(column["n is missing"], (y % 10 == 0).astype(np.float32))
        present = y % 10 != 0
        values = n[n % 10 != 0]
        expected = np.where(present, (y - values.mean()) / values.std(), 0)
        # float32 has 24 bits; z is at most 2 here.
        assert np.abs(column["n"] - expected).max() < 2 * 2**-23


def test_tables_and_streams_are_pickled_where_they_can_be_opened_again(tmp_path):
    pq.write_table(arrow(100), tmp_path / "t.parquet")
    for source, options in ((tmp_path / "t.parquet", {"target": "y"}), ((np.eye(3), np.arange(3)), {})):
        stream = Stream(Table.open(source, **options), batch=2, seed=5)
        again = pickle.loads(pickle.dumps(stream))  # noqa: S301, our own bytes
        assert [x.tolist() for x, _ in again] == [x.tolist() for x, _ in stream]
    with pytest.raises(ConfigError, match="cannot be pickled"):
        pickle.dumps(Table.open(arrow(3)))
