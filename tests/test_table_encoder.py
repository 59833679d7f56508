"""The encoder of whole tables: what each kind of column becomes, in one pass, for every kind of trouble."""

import json
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amortix import _core
from amortix.data import EncoderSettings, Table, TableEncoder, TableSummary
from amortix.data.encoder import different
from amortix.errors import ArrayError, ConfigError, FormatError, SourceError

ROWS = 3000


def numbers(rows=ROWS, columns=3, gaps=0.1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(loc=[5, -1e6, 0.1], scale=[2, 1e3, 1e-3], size=(rows, columns))
    x[rng.random(x.shape) < gaps] = np.nan
    return x


def standard(x):
    """The closed form: standardised values, 0 for missing ones, and masks where a column has any."""
    z = np.nan_to_num((x - np.nanmean(x, 0)) / np.nanstd(x, 0))
    masks = np.isnan(x)
    parts = [[z[:, d], masks[:, d]] if masks[:, d].any() else [z[:, d]] for d in range(x.shape[1])]
    return np.stack([column for part in parts for column in part], 1)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_standardised_and_gaps_become_masks(dtype, order):
    x = np.asarray(numbers().astype(dtype), order=order)
    x[:, 2] = np.nan_to_num(x[:, 2], nan=0.1)
    encoder = TableEncoder.fit(Table.open(x))
    assert encoder.columns == ["0", "0 is missing", "1", "1 is missing", "2"]
    got = encoder.transform(x)
    # Sums of 3,000 numbers of size 10⁶ with spread 10³, in float64: 12 digits are left at least.
    assert got == pytest.approx(standard(x.astype(np.float64)), abs=1e-6)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_whole_numbers_of_every_type(dtype):
    info = np.iinfo(dtype)
    x = np.array([[info.min, 0], [info.max, 1], [info.max, 2]], dtype)
    encoder = TableEncoder.fit(Table.open(x))
    assert encoder.transform(x) == pytest.approx(standard(x.astype(np.float64)), abs=1e-6)


def test_booleans_are_zero_and_one():
    x = np.array([[True, False], [False, False], [True, False]])
    encoder = TableEncoder.fit(Table.open(x))
    assert encoder.transform(x).tolist() == [[1], [0], [1]]
    assert encoder.left_out == {"1": "is 0 wherever it has a value"}
    assert encoder.fields[0].kind == "boolean"


def test_numbers_can_stay_as_they_are():
    x = np.array([[7.0, 5.0, np.nan], [16_777_215.0, 5.0, 2.0]])
    encoder = TableEncoder.fit(Table.open(x), EncoderSettings(scale="none"))
    assert encoder.columns == ["0", "1", "2", "2 is missing"]
    assert encoder.transform(x).tolist() == [[7, 5, 0, 1], [16_777_215, 5, 2, 0]]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 700), st.just(2)),
        elements=st.one_of(st.floats(-1e12, 1e12), st.just(np.nan), st.integers(-3, 3).map(float)),
    ),
    st.sampled_from(["standard", "normal"]),
)
def test_whatever_is_encoded_is_finite_and_masked(x, scale):
    try:
        encoder = TableEncoder.fit(Table.open(x), EncoderSettings(scale=scale))
    except SourceError:
        assert all(len(np.unique(column[~np.isnan(column)])) <= 1 for column in x.T)
        return
    z = encoder.transform(x)
    assert np.isfinite(z).all()
    for d, column in enumerate(x.T):
        gaps = np.isnan(column)
        if str(d) in encoder.columns:
            values = z[:, encoder.columns.index(str(d))]
            assert np.all(values[gaps] == 0)
            order = np.argsort(column[~gaps], kind="stable")
            assert np.all(np.diff(values[~gaps][order]) >= 0)
        assert (f"{d} is missing" in encoder.columns) == (0 < gaps.sum() < len(x))
        if f"{d} is missing" in encoder.columns:
            assert np.array_equal(z[:, encoder.columns.index(f"{d} is missing")], gaps)


def test_normal_scores_are_normal_whatever_the_units():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(5000, 1))
    x = np.hstack([np.exp(3 * raw), raw * 1024, rng.random((5000, 1)) < 0.5])
    encoder = TableEncoder.fit(Table.open(x), EncoderSettings(scale="normal"))
    z = encoder.transform(x)
    # The rank error of the sketch is below 1.5 % of the rows; the density of the normal at ±2 is 0.054, so that a
    # score there is off by less than 0.015 / 0.054 = 0.28, and by 0.015 / 0.352 = 0.043 within ±0.5. Scores are then
    # divided by their own spread, and those beyond ±3 were cut: some 0.01 more.
    expected = np.array([NormalDist().inv_cdf((rank + 0.5) / 5000) for rank in raw[:, 0].argsort().argsort()])
    middle = np.abs(expected) < 0.5
    for d in (0, 1):
        assert np.abs(z[middle, d] - expected[middle]).max() < 0.1
        assert np.abs(z[:, d][np.abs(expected) < 2] - expected[np.abs(expected) < 2]).max() < 0.3
    # Two values of shares p and 1 - p: -√(p / (1 - p)) and its negative inverse, whose slope in p is 2 at a half.
    share = x[:, 2].mean()
    assert sorted(set(z[:, 2])) == pytest.approx(
        [-((share / (1 - share)) ** 0.5), ((1 - share) / share) ** 0.5], abs=2.1 * 0.015
    )


def of_times(seconds):
    """An encoder of one column of times, as a file with such a column gives them to the pass."""
    inner = _core.Summaries(["times"], seed=0, shard=0)
    assert inner.see_array(0, [0], np.asarray(seconds, np.float64)[:, None], None) is None
    return TableEncoder.from_summary(TableSummary(("t",), ("time",), None, None, (), None, inner))


DAY, MINUTE = 86_400, 60


@pytest.mark.parametrize(
    ("every", "count", "cycles"),
    [
        (DAY, 3 * 365, ["year", "week"]),
        (7 * DAY, 3 * 52, ["year"]),
        (DAY, 30, ["week"]),
        (DAY, 3, []),
        (10 * MINUTE, 520, ["week", "day"]),
        (10 * MINUTE, 30, []),
    ],
)
def test_times_have_the_cycles_that_vary(every, count, cycles):
    seconds = 1.7e9 + every * np.arange(count)
    encoder = of_times(np.append(seconds, np.nan))
    waves = [f"t {wave} {cycle}" for cycle in cycles for wave in ("sin", "cos")]
    assert encoder.columns == ["t", *waves, "t is missing"]
    z = encoder.transform(seconds[:, None])
    assert z[:, 0] == pytest.approx((seconds - seconds.mean()) / seconds.std(), abs=1e-5)
    periods = {"year": 365.2425 * DAY, "week": 7 * DAY, "day": DAY}
    for place, cycle in enumerate(cycles):
        angle = 2 * np.pi * (seconds / periods[cycle] % 1)
        # The place in the cycle is rounded to 24 bits, and the polynomials are good to 3e-7.
        assert z[:, 1 + 2 * place] == pytest.approx(np.sin(angle), abs=1e-6)
        assert z[:, 2 + 2 * place] == pytest.approx(np.cos(angle), abs=1e-6)
    assert TableEncoder.from_json(encoder.to_json()) == encoder
    assert not encoder.transform(np.array([[np.nan]]))[0, :-1].any()


def test_the_calendar_is_that_of_numpy():
    days = np.arange("2000-01-01", "2003-01-01", dtype="datetime64[D]")
    z = of_times(days.astype("datetime64[s]").astype(np.int64)).transform(days.astype(np.int64)[:, None] * DAY)
    turn = np.arctan2(z[:, 3], z[:, 4]) / (2 * np.pi) % 1
    # The first of 1970 was a Thursday, as NumPy's busday calendar has it.
    thursday = np.is_busday(days, weekmask="0001000")
    assert np.minimum(turn, 1 - turn)[thursday].max() < 1e-5
    year = np.arctan2(z[:, 1], z[:, 2]) / (2 * np.pi) % 1
    exact = (days - days.astype("datetime64[Y]")).astype(int) / 365.2425
    # Leap days keep the mean year within a day or so of the calendar's.
    off = np.abs(year - exact)
    assert np.minimum(off, 1 - off).max() < 1.5 / 365
    # Each New Year's Day is another day of the week, and all are within two days of one place of the year.
    years = np.arange("1990", "2020", dtype="datetime64[Y]").astype("datetime64[s]").astype(np.int64)
    assert of_times(years).columns == ["t", "t sin week", "t cos week"]


def test_categories_get_a_column_per_level():
    x = np.array([[3, 1], [3, 2], [9, 3], [10, 4], [9, 5], [3, 6]], np.float32)
    table = Table.open(x)
    encoder = TableEncoder.fit(table, EncoderSettings(categories=("0",), levels=2))
    assert encoder.columns == ["0=3", "0=9", "0=other", "1"]
    assert encoder.transform(x)[:, :3].tolist() == [
        [1, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 0],
    ]
    unseen = np.array([[77, 1], [np.nan, 1], [np.inf, 1], [3.5, 1]], np.float32)
    assert encoder.transform(unseen)[:, :3].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    wider = TableEncoder.fit(table, EncoderSettings(categories=("0",)))
    assert wider.columns == ["0=3", "0=9", "0=10", "1"]
    assert not wider.transform(unseen[:1])[:, :3].any(), "an unseen level is 0 everywhere where nothing was cut"


def test_an_identifier_is_no_category():
    x = np.stack([np.arange(100), np.arange(100) % 7], 1)
    encoder = TableEncoder.fit(Table.open(x), EncoderSettings(categories=("0",)))
    assert encoder.left_out == {"0": "has so many labels that none is common"}
    many = np.stack([np.arange(40_000), np.arange(40_000) % 7], 1)
    encoder = TableEncoder.fit(Table.open(many), EncoderSettings(categories=("0",)))
    assert list(encoder.left_out) == ["0"]


def test_one_common_label_among_very_many_is_found():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((40_000, 1)) < 0.1, 7, np.arange(40_000)[:, None] + 100)
    encoder = TableEncoder.fit(Table.open(x), EncoderSettings(categories=("0",)))
    assert encoder.columns == ["0=7", "0=other"]
    assert np.array_equal(encoder.transform(x), np.hstack([x == 7, x != 7]))


def test_constant_and_empty_columns_are_left_out_with_the_reason():
    x = np.array([[1, np.nan, 4, 7], [2, np.nan, 4, np.nan]])
    encoder = TableEncoder.fit(Table.open(x))
    assert encoder.columns == ["0", "3 is missing"]
    assert encoder.left_out == {
        "1": "has no value at all",
        "2": "is 4 wherever it has a value",
        "3": "is 7 wherever it has a value",
    }
    assert encoder.transform(x).tolist() == [[-1, 0], [1, 1]]
    assert encoder.describe()[0] == {
        "column": "0",
        "kind": "number",
        "rows": 2,
        "missing": 0,
        "mean": 1.5,
        "sd": 0.5,
        "minimum": 1,
        "maximum": 2,
        "quartiles": (1, 1, 2),
        "labels": 0,
        "becomes": "0",
    }
    assert [row["becomes"] for row in encoder.describe()] == [
        "0",
        "has no value at all",
        "is 4 wherever it has a value",
        "is 7 wherever it has a value, 3 is missing",
    ]


def test_what_cannot_be_fitted_is_named():
    with pytest.raises(SourceError, match="no rows"):
        TableEncoder.fit(Table.open(np.zeros((0, 2))))
    with pytest.raises(SourceError, match="column '0', for one, is 3"):
        TableEncoder.fit(Table.open(np.full((4, 2), 3.0)))
    for value in (np.inf, -np.inf, 1e141):
        x = np.zeros((10_000, 2))
        x[9_000, 1] = value
        with pytest.raises(SourceError, match=r"column '1' is .* at row 9000"):
            TableEncoder.fit(Table.open(x))
    x, y = np.arange(4.0).reshape(2, 2), np.array([1.0, np.nan])
    with pytest.raises(SourceError, match="target 'y' is missing in 1 of 2 rows"):
        TableEncoder.fit(Table.open((x, y)))
    with pytest.raises(SourceError, match=r"'y' is missing .* at row 1"):
        TableEncoder.fit(Table.open((x, np.array(["a", None], object))))
    labels = np.arange(2000).astype(str)
    with pytest.raises(SourceError, match="more than 1,024 labels"):
        TableEncoder.fit(Table.open((np.arange(4000.0).reshape(-1, 2), labels)))


def test_infinity_counts_as_missing_once_fitted():
    x = numbers()
    encoder = TableEncoder.fit(Table.open(x))
    rows = np.array([[np.inf, -np.inf, np.nan]])
    assert encoder.transform(rows).tolist() == [[0, 1, 0, 1, 0, 1]]
    assert encoder.transform(np.array([[1e300, -1e300, 0.1]]))[0, [0, 2]].tolist() == pytest.approx(
        [np.finfo(np.float32).max, np.finfo(np.float32).min]
    )


def test_ten_thousand_columns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 10_000)).astype(np.float32)
    x[0, ::2] = np.nan
    encoder = TableEncoder.fit(Table.open(x))
    assert encoder.width == 15_000
    assert encoder.transform(x) == pytest.approx(standard(x.astype(np.float64)), abs=1e-5)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array(["b", "a", "b"]), ("a", "b")),
        (np.array(["10", "9", "-1"]), ("-1", "9", "10")),
        (np.array([True, False, True]), ("false", "true")),
        (np.array(["x", 3, True], object), ("3", "true", "x")),
        (np.array([b"b", b"a", b"b"]), ("a", "b")),
    ],
)
def test_classes_are_found_in_the_pass(y, classes):
    table = Table.open((np.arange(6.0).reshape(3, 2), y))
    encoder = TableEncoder.fit(table)
    assert encoder.classes == classes == tuple(table.distinct_labels())
    assert TableEncoder.fit(table.with_classes(["q", *classes])).classes == ("q", *classes)


def test_a_target_of_numbers_is_a_number_or_a_class():
    x, y = np.arange(8.0).reshape(4, 2), np.array([10, 9, 10, 11])
    table = Table.open((x, y))
    plain = TableEncoder.fit(table)
    assert plain.classes is None
    assert (plain.target_facts.mean, plain.target_facts.sd) == (10, 0.5**0.5)
    assert TableEncoder.fit(table, EncoderSettings(categories=("y",))).classes == ("9", "10", "11")


def test_a_saved_encoder_is_the_encoder(tmp_path):
    x = numbers()
    table = Table.open((x, np.where(x[:, 0] > 5, "ü", "n")))
    for scale in ("standard", "normal", "none"):
        encoder = TableEncoder.fit(table, EncoderSettings(scale=scale, categories=("2",), levels=3))
        encoder.save(tmp_path / "e.json")
        again = TableEncoder.load(tmp_path / "e.json")
        assert again == encoder
        assert again.fingerprint == encoder.fingerprint
        assert np.array_equal(again.transform(x), encoder.transform(x))
        assert list(tmp_path.iterdir()) == [tmp_path / "e.json"]


def test_damaged_encoders_are_refused(tmp_path):
    encoder = TableEncoder.fit(Table.open(numbers()))
    good = json.loads(encoder.to_json())
    damaged = [
        "",
        "[]",
        json.dumps(good | {"format": "amortix table encoder 2"}),
        json.dumps({name: value for name, value in good.items() if name != "fields"}),
        json.dumps(good | {"fields": [{}]}),
        json.dumps(good | {"fields": [good["fields"][0] | {"map": {"is": "scaled", "mean": 0, "scale": 0}}]}),
        json.dumps(good | {"fields": [good["fields"][0] | {"map": {"is": "unknown"}}]}),
        json.dumps(good | {"settings": {"scale": "huge"}}),
    ]
    for text in damaged:
        with pytest.raises(FormatError):
            TableEncoder.from_json(text)
    with pytest.raises(FormatError, match="no saved encoder"):
        TableEncoder.load(tmp_path / "none.json")
    summary = json.loads(TableSummary.of(Table.open(numbers())).to_json())
    summary["parts"][0][2][0] += 1
    for text in ("{}", "3", json.dumps(summary), json.dumps(summary | {"parts": [["words", [], [], []]]})):
        with pytest.raises(FormatError):
            TableSummary.from_json(text)


def test_another_table_is_refused():
    x = numbers()
    encoder = TableEncoder.fit(Table.open(x, columns=["0", "2"]))
    encoder.check(Table.open(x.astype(np.float32), columns=["0", "2"]))
    for columns, message in [
        (["0"], "column '2', which the table lacks"),
        (["0", "1", "2"], "not fitted on column '1'"),
        (["2", "0"], "another order"),
    ]:
        with pytest.raises(SourceError, match=message):
            encoder.check(Table.open(x, columns=columns))
    with pytest.raises(SourceError, match="column '0' holds booleans, but numbers"):
        encoder.check(Table.open(x > 0, columns=["0", "2"]))
    with pytest.raises(ArrayError, match=r"\[B, 2\]"):
        encoder.transform(x)
    with pytest.raises(ArrayError, match="float32"):
        encoder.transform(x[:, :2], np.zeros((len(x), 4)))
    with pytest.raises(ConfigError, match="different columns"):
        TableSummary.of(Table.open(x)).merge(TableSummary.of(Table.open(x[:, :2])))


def test_settings_are_checked():
    for wrong in ({"scale": "log"}, {"levels": 0}, {"seed": -1}, {"categories": "0"}):
        with pytest.raises(ConfigError):
            EncoderSettings(**wrong)
    table = Table.open(numbers())
    with pytest.raises(ConfigError, match="'9'"):
        TableEncoder.fit(table, EncoderSettings(categories=("9",)))
    with pytest.raises(ConfigError, match="index < count"):
        TableSummary.of(table, shard=(1, 1))
    with pytest.raises(ConfigError, match="categories"):
        TableEncoder.from_summary(TableSummary.of(table, categories=("0",)), EncoderSettings())


def test_names_that_come_up_twice_are_told_apart():
    assert list(different(["a", "a", "a (2)", "a"])) == ["a", "a (2)", "a (2) (2)", "a (3)"]


def test_a_transform_does_not_depend_on_the_batch():
    x = numbers()
    encoder = TableEncoder.fit(Table.open(x), EncoderSettings(scale="normal"))
    z = encoder.transform(x)
    out = np.empty((7, encoder.width), np.float32)
    assert encoder.transform(x[100:107], out) is out
    assert np.array_equal(out, z[100:107])
