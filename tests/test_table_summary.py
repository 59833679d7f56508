"""Summaries of tables: exact where they say so, within their bounds elsewhere, the same from shards."""

import numpy as np
import pytest

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
