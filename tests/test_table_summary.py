"""Summaries of tables: exact where they say so, within their bounds elsewhere, the same from shards."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from amortix.data import EncoderSettings, Table, TableEncoder, TableSummary
from amortix.errors import ConfigError, SourceError


def numbers(rows):
    x = np.random.default_rng(0).normal(loc=[5, -1e6, 0.1], scale=[2, 1e3, 1e-3], size=(rows, 3))
    x[::50] = np.nan
    return x


def summaries(table, count, **options):
    return [TableSummary.of(table, shard=(i, count), **options) for i in range(count)]


def test_merged_shards_are_one_pass():
    x = numbers(50_000)
    x = np.hstack([x, np.random.default_rng(1).integers(0, 30, (len(x), 1)) ** 2])
    table = Table.open((x, np.arange(len(x)) % 3 == 0))
    whole = TableSummary.of(table, categories=("3",))
    parts = summaries(table, 3, categories=("3",))
    parts = [TableSummary.from_json(part.to_json()) for part in parts]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.rows == len(x) == sum(part.rows for part in parts)
    for place in range(5):
        a, b = whole.facts(place), merged.facts(place)
        assert (a.rows, a.missing, a.minimum, a.maximum, a.labels) == (
            b.rows,
            b.missing,
            b.minimum,
            b.maximum,
            b.labels,
        )
        assert (b.mean, b.sd) == pytest.approx((a.mean, a.sd), rel=1e-12)
        assert whole.inner.labels(place) == merged.inner.labels(place)
    chosen = EncoderSettings(categories=("3",))
    one, other = TableEncoder.from_summary(whole, chosen), TableEncoder.from_summary(merged, chosen)
    assert one.columns == other.columns
    assert one.transform(x) == pytest.approx(other.transform(x), abs=1e-6)
    assert one.classes == ("false", "true") == other.classes


def mixed(rows):
    rng = np.random.default_rng(5)
    gaps = pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.2)
    names = pa.array(np.array(["ü", "b", "c d"])[rng.integers(0, 3, rows)], mask=rng.random(rows) < 0.1)
    flag = pa.array(rng.random(rows) < 0.3, mask=np.arange(rows) % 97 == 0)
    whole = pa.array(rng.integers(-5, 5, rows))
    weight = pa.array(rng.integers(0, 3, rows).astype(float))
    label = pa.array(np.array(["yes", "no"])[rng.integers(0, 2, rows)])
    return pa.table({"gaps": gaps, "names": names, "flag": flag, "whole": whole, "weight": weight, "label": label})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_of_mixed_columns_are_summarised(tmp_path, kind):
    table = mixed(30_000)
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path, row_group_size=7000)
    opened = Table.open(path, target="label", drop=["weight"])
    chosen = EncoderSettings(categories=("whole",), weight="weight", levels=2)
    encoder = TableEncoder.fit(opened, chosen)
    counts = {
        name: dict(value.values() for value in table[name].drop_null().value_counts().to_pylist())
        for name in ("names", "whole")
    }
    for each in encoder.fields:
        assert (each.facts.rows, each.facts.missing) == (30_000, table[each.column].null_count)
    assert [each.kind for each in encoder.fields] == ["number", "label", "boolean", "label"]
    top = {name: sorted(c, key=lambda level: (-c[level], str(level)))[:2] for name, c in counts.items()}
    expected = ["gaps", "gaps is missing", *(f"names={level}" for level in top["names"]), "names=other"]
    expected += ["names is missing", "flag", "flag is missing", *(f"whole={v}" for v in top["whole"]), "whole=other"]
    assert encoder.columns == expected
    assert encoder.classes == ("no", "yes")
    value, weight = table["gaps"].to_numpy(), table["weight"].to_numpy()
    some = ~np.isnan(value)
    mean = np.average(value[some], weights=weight[some])
    assert encoder.fields[0].map.mean == pytest.approx(mean, rel=1e-12)
    spread = np.average((value[some] - mean) ** 2, weights=weight[some]) ** 0.5
    assert encoder.fields[0].map.scale == pytest.approx(spread, rel=1e-12)
    parts = summaries(opened, 2, categories=("whole",), weight="weight")
    merged = TableEncoder.from_summary(parts[1].merge(parts[0]), chosen)
    assert (merged.columns, merged.classes) == (encoder.columns, encoder.classes)
    assert merged.fields[0].map.mean == pytest.approx(mean, rel=1e-12)


def test_trouble_in_files_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,w\n" + "1,x,1\n" * 9000 + "inf,x,1\n2,y,-1\n")
    with pytest.raises(SourceError, match="column 'a' is inf at row 9000"):
        TableEncoder.fit(Table.open(path, drop=["w"]))
    with pytest.raises(SourceError, match="weight 'w' is -1 at row 9001"):
        TableEncoder.fit(Table.open(path, columns=["b"]), EncoderSettings(weight="w"))
    encoder = TableEncoder.fit(Table.open(path, columns=["b"]))
    with pytest.raises(SourceError, match="column 'b' holds labels"):
        encoder.transform(np.zeros((1, 1)))
    parquet.write_table(pa.table({"a": [1, 2], "n": [[1], [2]]}), tmp_path / "n.parquet")
    with pytest.raises(SourceError, match="column 'n' holds neither"):
        TableEncoder.fit(Table.open(tmp_path / "n.parquet"))


@pytest.mark.parametrize("name", ["sorted", "constant", "heavy", "alternating"])
def test_quantiles_are_within_the_stated_rank_error(name):
    n = 60_000
    rng = np.random.default_rng(3)
    column = {
        "sorted": np.arange(n, dtype=float),
        "constant": np.full(n, 2.5),
        "heavy": rng.standard_cauchy(n) ** 3,
        "alternating": np.arange(n) * (-1.0) ** np.arange(n),
    }[name]
    table = Table.open(np.stack([column, np.arange(n)], 1))
    shares = np.linspace(0, 1, 101)
    parts = summaries(table, 4)
    merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    for summary in (TableSummary.of(table), merged):
        # 101 ranks, each beyond the bound with a probability below 10⁻⁶.
        bound = summary.inner.rank_error(0, 1e-6)
        found = np.array(summary.inner.quantiles(0, shares.tolist()))
        ordered = np.sort(column)
        low, high = np.searchsorted(ordered, found, "left"), np.searchsorted(ordered, found, "right")
        # How far the rank asked for lies outside the ranks that the value has.
        off = np.maximum(0, np.maximum(low - shares * n, shares * n - high))
        assert off.max() <= bound
        assert summary.inner.rank_error(0, 0.01) <= 0.015 * n


def test_weights_count_in_means_and_spreads():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(20_000, 2)), rng.integers(0, 4, (20_000, 1))
    x[:50, 0] = np.nan
    x[:, 1] += weight[:, 0]
    table = Table.open(np.hstack([x, weight]), drop=["2"])
    encoder = TableEncoder.fit(table, EncoderSettings(weight="2"))
    copies = TableEncoder.fit(Table.open(np.repeat(x, weight[:, 0], axis=0)))
    for ours, theirs in zip(encoder.fields, copies.fields, strict=True):
        assert (ours.map.mean, ours.map.scale) == pytest.approx((theirs.map.mean, theirs.map.scale), rel=1e-12)
    assert encoder.fields[0].facts.missing == 50
    for wrong in (-1.0, np.nan, np.inf):
        bad = np.hstack([x, weight])
        bad[10_001, 2] = wrong
        with pytest.raises(SourceError, match=r"weight '2' is .* at row 10001"):
            TableEncoder.fit(Table.open(bad, drop=["2"]), EncoderSettings(weight="2"))
    for name in ("1", "9"):
        with pytest.raises(ConfigError, match="`weight`"):
            TableEncoder.fit(table, EncoderSettings(weight=name))


def test_a_pass_reports_its_progress():
    seen = []
    table = Table.open(numbers(20_000))
    TableEncoder.fit(table, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8192, 20_000), (16_384, 20_000), (20_000, 20_000)]
    seen = []
    TableSummary.of(table, shard=(2, 3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3616, 3616)]


def test_a_column_that_would_be_read_twice_is_refused_by_name():
    rows = pa.table({"a": [1.0, 2.0], "y": [0.0, 1.0], "label": ["no", "yes"]})
    for target, classes in (("y", None), ("label", ["no", "yes"])):
        table = Table.open(rows, target=target, columns=["a", target], classes=classes)
        with pytest.raises(SourceError, match=f"target '{target}' is among the feature columns too"):
            TableEncoder.fit(table)
    with pytest.raises(SourceError, match="column 'a' is listed twice"):
        TableEncoder.fit(Table.open(rows, columns=["a", "y", "a"]))
