"""Tables: every kind of source reads the same, and what cannot be used is named."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from amortix.data import Stream, Table
from amortix.errors import AmortixError, ConfigError, FormatError, SourceError

ROWS = 57
A = np.arange(ROWS) / 4
B = np.arange(ROWS) % 5 - 2
FLAG = np.arange(ROWS) % 2 == 0
NAME = np.array([f"k{r % 3}" for r in range(ROWS)])


def arrow(**more) -> pa.Table:
    return pa.table({"a": A, "b": B, "flag": FLAG, "name": NAME} | more)


@pytest.fixture
def parquet(tmp_path):
    def write(table: pa.Table, **options):
        path = tmp_path / "t.parquet"
        pq.write_table(table, path, **options)
        return path

    return write


def everything(table: Table) -> tuple[np.ndarray, np.ndarray | None]:
    batches = list(Stream(table, batch=10, shuffle=False, part="all"))
    ys = [y for _, y in batches if y is not None]
    return np.concatenate([x for x, _ in batches]), np.concatenate(ys) if ys else None


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_of_any_codec(parquet, codec, dictionary):
    path = parquet(arrow(), compression=codec, use_dictionary=dictionary, row_group_size=20)
    table = Table.open(path, target="name")
    assert (table.columns, table.rows, table.groups) == (["a", "b", "flag"], ROWS, [20, 20, 17])
    assert (table.target, table.target_kind, table.source) == ("name", "label", str(path))
    x, y = everything(table.with_classes(table.distinct_labels()))
    assert np.array_equal(x, np.stack([A, B, FLAG], 1).astype(np.float32))
    assert np.array_equal(y, np.arange(ROWS) % 3)


@pytest.mark.parametrize(
    "dtype",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(23, 2)),
    ],
    ids=str,
)
def test_every_number_type_is_read(parquet, dtype):
    column = pa.array([0, 1, 100]).cast(dtype) if dtype != pa.float16() else pa.array(np.float16([0, 1, 100]))
    x, _ = everything(Table.open(parquet(pa.table({"n": column}))))
    assert x.ravel().tolist() == [0, 1, 100]


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_every_text_type_is_a_label(parquet, dtype):
    table = Table.open(parquet(arrow(text=pa.array(NAME).cast(dtype)), store_schema=True), target="text", drop=["name"])
    assert table.target_kind == "label"
    assert table.distinct_labels() == ["k0", "k1", "k2"]


def test_csv_parquet_and_arrays_agree(tmp_path, parquet):
    csv = tmp_path / "t.csv"
    lines = [f'{a},{b},"{str(f).lower()}",{n}' for a, b, f, n in zip(A, B, FLAG, NAME, strict=True)]
    csv.write_text("\n".join(["a,b,flag,name", *lines]))
    classes = ("k2", "k0", "k1")
    x = np.stack([A, B, FLAG], 1)
    np.savez(tmp_path / "t.npz", x=x, y=NAME)
    opened = [
        Table.open(csv, target="name", classes=classes),
        Table.open(parquet(arrow()), target="name", classes=classes),
        Table.open(tmp_path / "t.npz", classes=classes),
        Table.open((np.asfortranarray(x), NAME), classes=classes),
        Table.open((x, NAME.astype(object)), classes=classes),
    ]
    for table in opened:
        assert table.target_kind == "label"
        got, y = everything(table)
        assert np.array_equal(got, x.astype(np.float32))
        assert np.array_equal(y, [classes.index(n) for n in NAME])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_dtype_and_order_is_mapped(tmp_path, dtype, order):
    values = np.arange(24).reshape(8, 3).astype(dtype)
    np.save(tmp_path / "t.npy", np.asarray(values, order=order))
    table = Table.open(tmp_path / "t.npy", target="-1")
    assert (table.columns, table.target) == (["0", "1"], "2")
    kind = {"f": "numeric", "i": "integer", "u": "integer", "b": "label"}[np.dtype(dtype).kind]
    assert table.target_kind == kind
    x, y = everything(table.with_classes(table.distinct_labels()))
    assert np.array_equal(x, values[:, :2].astype(np.float32))
    assert [table.distinct_labels()[int(i)] for i in y] == [
        str(v).lower() if kind == "label" else str(int(v)) for v in values[:, 2].tolist()
    ]


def test_columns_are_chosen_dropped_and_ordered(parquet):
    path = parquet(arrow())
    assert Table.open(path, drop=["name", "b"]).columns == ["a", "flag"]
    table = Table.open(path, columns=["flag", "a"])
    x, y = everything(table)
    assert np.array_equal(x, np.stack([FLAG, A], 1).astype(np.float32))
    assert y is None


def test_labels_that_are_whole_numbers_sort_as_numbers(parquet):
    path = parquet(pa.table({"a": [0.0] * 4, "k": [10, 9, -1, 10]}))
    table = Table.open(path, target="k")
    assert table.target_kind == "integer"
    assert table.distinct_labels() == ["-1", "9", "10"]
    assert len(table.distinct_labels(limit=2)) == 2
    assert Table.open((np.zeros((4, 1)), np.array([10.0, 9, -1, 10]))).distinct_labels() == ["-1", "9", "10"]


def test_the_fingerprint_tells_tables_apart(parquet):
    path = parquet(arrow())
    plain = Table.open(path, target="a", drop=["name"]).fingerprint
    assert plain == Table.open(path, target="a", drop=["name"]).fingerprint
    others = [Table.open(path, target="b", drop=["name"]), Table.open(path, drop=["name"])]
    others.append(Table.open(parquet(arrow().slice(1)), target="a", drop=["name"]))
    assert len({plain, *(table.fingerprint for table in others)}) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "nam"}, ["target 'nam'", "'name'"]),
        ({"drop": ["flagg"]}, ["'flagg'", "'flag'"]),
        ({"columns": ["A"]}, ["column 'A'"]),
        ({"target": "a", "drop": ["a"]}, ["target 'a'"]),
        ({}, ['"name"', "text", "--drop name"]),
        ({"target": "name", "drop": ["a", "b", "flag"]}, ["no feature"]),
    ],
)
def test_what_is_not_there_is_named(parquet, options, words):
    with pytest.raises(SourceError) as caught:
        next(iter(Stream(Table.open(parquet(arrow()), **options))))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(["2020-01-01"] * ROWS).cast(pa.date32()), ["dates"]),
        (pa.array([None] * ROWS, pa.timestamp("us")), ["dates"]),
        (pa.array([[1.0]] * ROWS), ["nested"]),
        (pa.array([{"u": 1}] * ROWS), ["nested"]),
    ],
)
def test_columns_of_other_types_are_named(parquet, column, words):
    path = parquet(arrow(odd=column))
    with pytest.raises(SourceError) as caught:
        next(iter(Stream(Table.open(path, target="a", drop=["name"]))))
    assert all(word in str(caught.value) for word in ['"odd"', *words]), caught.value
    with pytest.raises(SourceError, match="odd"):
        Table.open(path, target="odd", drop=["name"])
    assert Table.open(path, drop=["odd", "name"]).columns == ["a", "b", "flag"]


@pytest.mark.parametrize(("bad", "words"), [(np.nan, "missing"), (np.inf, "inf"), (1e300, "1e+300"), (-np.inf, "-inf")])
def test_values_that_do_not_fit_are_named_with_column_and_row(tmp_path, bad, words):
    values = np.ones((ROWS, 2))
    values[41, 1] = bad
    pq.write_table(pa.table({"a": values[:, 0], "b": values[:, 1]}), tmp_path / "t.parquet", row_group_size=20)
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in values))
    np.save(tmp_path / "t.npy", values)
    for source in (
        tmp_path / "t.parquet",
        tmp_path / "t.csv",
        tmp_path / "t.npy",
        values,
        (values[:, :1], values[:, 1]),
    ):
        with pytest.raises(SourceError) as caught:
            everything(Table.open(source))
        text = str(caught.value).replace("'", '"')
        assert "at row 41" in text
        assert any(f'column "{name}"' in text for name in ("b", "1", "y")), text
        assert words in text or (bad == 1e300 and "1000000" in text), text


def test_a_column_without_any_value_is_named(tmp_path, parquet):
    for column in (pa.nulls(ROWS), pa.nulls(ROWS, pa.float64()), pa.array([np.nan] * ROWS)):
        with pytest.raises(SourceError, match='"empty" has no value at all'):
            everything(Table.open(parquet(arrow(empty=column)), target="a", drop=["name"]))
    (tmp_path / "t.csv").write_text("a,empty\n1,\n2,NA\n")
    with pytest.raises(SourceError, match='"empty" has no value at all'):
        everything(Table.open(tmp_path / "t.csv"))
    with pytest.raises(SourceError, match="'0' has no value at all"):
        everything(Table.open(np.full((3, 1), np.nan)))


def test_labels_unknown_missing_or_unnamed(parquet):
    path = parquet(pa.table({"a": [1.0, 2.0], "k": ["x", None]}))
    with pytest.raises(SourceError, match="missing"):
        Table.open(path, target="k").distinct_labels()
    with pytest.raises(SourceError, match="missing"):
        everything(Table.open(path, target="k", classes=["x"]))
    with pytest.raises(SourceError, match="with_classes"):
        everything(Table.open(parquet(arrow()), target="name"))
    for source, options in ((parquet(arrow()), {"target": "name"}), ((A[:, None], NAME), {})):
        with pytest.raises(SourceError, match=r"label .k1. at row 1"):
            everything(Table.open(source, classes=["k0", "k2"], **options))
    with pytest.raises(ConfigError, match="classes"):
        Table.open((A[:, None], NAME), classes=["k0", "k0"])
    with pytest.raises(SourceError, match="without a target"):
        Table.open(A[:, None]).distinct_labels()


def test_files_that_are_not_there_or_of_an_unknown_kind(tmp_path):
    for name in ("no.parquet", "no.csv", "no.npy", "no.npz"):
        with pytest.raises(SourceError, match="does not exist"):
            Table.open(tmp_path / name)
    (tmp_path / "t.xlsx").write_text("?")
    with pytest.raises(FormatError, match="unknown kind"):
        Table.open(tmp_path / "t.xlsx")
    with pytest.raises(AmortixError):
        Table.open(tmp_path / "folder.parquet")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(FormatError, match="line 3 has 3 fields"):
        Table.open(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    with pytest.raises(SourceError, match="two columns named 'a'"):
        Table.open(tmp_path / "t.csv")
    np.save(tmp_path / "t.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="objects"):
        Table.open(tmp_path / "t.npy")


@pytest.mark.parametrize(
    "source",
    [
        *(np.zeros(3), np.zeros((2, 2, 2)), np.zeros((2, 2), complex), np.zeros((2, 2), ">f4")),
        *((np.zeros((3, 1)), np.zeros(2)), (np.zeros((3, 1)), [1, 2, 3]), [[1.0]], 7, None),
    ],
    ids=repr,
)
def test_arrays_that_are_no_table(source):
    with pytest.raises(SourceError):
        Table.open(source)


def test_a_parquet_file_cut_anywhere_is_an_error(tmp_path):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    pq.write_table(arrow(), whole, row_group_size=20)
    content = whole.read_bytes()
    for size in range(0, len(content), 7):
        cut.write_bytes(content[:size])
        with pytest.raises(FormatError, match="damaged or truncated"):
            Table.open(cut)


def test_a_parquet_file_with_changed_bytes_is_an_error_or_other_numbers(tmp_path):
    whole, changed = tmp_path / "whole.parquet", tmp_path / "changed.parquet"
    pq.write_table(arrow(), whole, row_group_size=20)
    content = whole.read_bytes()
    caught = 0
    for place in range(0, len(content), 3):
        changed.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        try:
            table = Table.open(changed, columns=["a", "b"])
            assert everything(table)[0].shape[1] == 2
        except AmortixError:
            caught += 1
    assert caught > 100


def test_a_file_cut_after_it_was_opened_is_an_error(parquet):
    path = parquet(arrow(), row_group_size=20)
    table = Table.open(path, columns=["a"])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match="changed"):
        everything(table)


MEASURE = """
import re, sys
from amortix.data import Stream, Table
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
table = Table.open(sys.argv[1], target="y")
rows = sum(len(x) for x, _ in Stream(table, batch=512))
print(rows, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_longer_table_takes_no_more_memory(tmp_path, kind):
    group = pa.table({f"c{i}": np.random.default_rng(i).random(70_000).astype(np.float32) for i in range(8)})
    group = group.append_column("y", group["c0"])

    def growth(groups: int) -> int:
        path = tmp_path / f"{groups}.{kind}"
        if kind == "parquet":
            with pq.ParquetWriter(path, group.schema) as writer:
                for _ in range(groups):
                    writer.write_table(group)
        else:
            csv.write_csv(group, path, csv.WriteOptions(quoting_style="none"))
            _, rows = path.read_text().split("\n", 1)
            with path.open("a") as file:
                file.writelines(rows for _ in range(groups - 1))
        run = [sys.executable, "-c", MEASURE, str(path)]
        rows, kilobytes = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
        assert int(rows) == groups * 70_000
        return int(kilobytes)

    few, many = growth(6), growth(40)
    # One group is 2.5 MB in memory. Of the 86 MB that the longer table has more, less than a seventh shows.
    assert few > 2_000
    assert many - few < 12_000, (few, many)


def test_a_damaged_npy_header_is_an_error_that_says_so(tmp_path):
    np.save(tmp_path / "t.npy", np.zeros((7, 2)))
    whole = (tmp_path / "t.npy").read_bytes()
    # The dictionary that describes the array starts at byte 10, and NumPy reads it as Python source.
    for place in range(10, 118):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "t.npy").write_bytes(damaged)
        with contextlib.suppress(FormatError, SourceError):
            Table.open(tmp_path / "t.npy")
