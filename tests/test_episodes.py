"""Episodes: the classes and rows that were asked for, never a row both shown and asked about, from any source."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortix.data import EpisodeSampler
from amortix.errors import ArrayError, ConfigError

LABELS = np.random.default_rng(0).integers(0, 12, 600) * 7 - 20
SETTINGS = {"ways": 5, "shots": 3, "queries": 4, "seed": 9}


def numbers(rows: np.ndarray) -> np.ndarray:
    """A source whose rows are their numbers, halves and squares."""
    return np.stack([rows, rows / 2, rows**2], 1).astype(np.float32)


SOURCE = numbers(np.arange(600))


@given(
    seed=st.integers(0, 2**64 - 1),
    first=st.integers(0, 2**63 - 1),
    ways=st.integers(1, 12),
    shots=st.integers(1, 15),
    queries=st.integers(1, 15),
)
def test_episodes_are_what_was_asked_for(seed, first, ways, shots, queries):
    sampler = EpisodeSampler(SOURCE, LABELS, ways=ways, shots=shots, queries=queries, seed=seed)
    drawn = sampler.draw(first, 3)
    assert drawn.support_x.shape == (3, ways * shots, 3)
    assert drawn.query_x.shape == (3, ways * queries, 3)
    for episode in range(3):
        classes = sampler.labels[drawn.classes[episode]]
        assert len(set(classes)) == ways
        shown, asked = (x[episode, :, 0].astype(int) for x in (drawn.support_x, drawn.query_x))
        assert len({*shown, *asked}) == ways * (shots + queries)
        for rows, y, each in ((shown, drawn.support_y, shots), (asked, drawn.query_y, queries)):
            assert y[episode].tolist() == [way for way in range(ways) for _ in range(each)]
            assert np.array_equal(LABELS[rows], classes[y[episode].astype(int)])
    assert np.array_equal(drawn.support_x, numbers(drawn.support_x[..., 0].ravel()).reshape(drawn.support_x.shape))


def test_an_episode_depends_on_its_number_alone():
    sampler = EpisodeSampler(SOURCE, LABELS, **SETTINGS)
    many = sampler.draw(100, 50)
    again = EpisodeSampler(SOURCE, LABELS, **SETTINGS).draw(117, 2)
    for name in ("support_x", "support_y", "query_x", "query_y", "classes"):
        assert np.array_equal(getattr(many, name)[17:19], getattr(again, name))
    assert not np.array_equal(many.support_x[0], many.support_x[1])
    assert sampler.draw(0, 0).query_x.shape == (0, 20, 3)
    addresses = [many.support_x.ctypes.data, many.query_x.ctypes.data, many.classes.ctypes.data]
    expected = sampler.draw(7, 50)
    assert sampler.draw(7, 50, out=many) is many
    assert addresses == [many.support_x.ctypes.data, many.query_x.ctypes.data, many.classes.ctypes.data]
    for name in ("support_x", "support_y", "query_x", "query_y", "classes"):
        assert np.array_equal(getattr(many, name), getattr(expected, name))


def test_classes_and_rows_are_equally_likely():
    labels = np.repeat(np.arange(8), 10)
    sampler = EpisodeSampler(numbers(np.arange(80)), labels, ways=2, shots=1, queries=1, seed=4)
    drawn = sampler.draw(0, 8000)
    # Each episode shows 2 of 80 rows and asks about 2 of them.
    for x in (drawn.support_x, drawn.query_x):
        counts = np.bincount(x[..., 0].astype(int).ravel(), minlength=80)
        assert np.abs(counts - 200).max() < 5 * np.sqrt(8000 * (1 / 40) * (39 / 40))
    pairs = np.bincount(drawn.classes[:, 0] * 8 + drawn.classes[:, 1], minlength=64).reshape(8, 8)
    assert not pairs.diagonal().any()
    off = pairs[~np.eye(8, dtype=bool)]
    assert np.abs(off - 8000 / 56).max() < 5 * np.sqrt(8000 / 56 * (55 / 56))


def test_every_source_gives_the_same_rows(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (600, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    padded = np.zeros((600, 4, 9), np.uint8)
    padded[..., :5] = images
    expected = EpisodeSampler(images, LABELS, scale=1 / 255, **SETTINGS).draw(3, 40)
    floats = images.astype(np.float32)
    sources = (
        mapped,
        floats,
        images.astype(float),
        padded[..., :5],
        lambda rows: images[rows],
        lambda rows: floats[rows],
    )
    for source in sources:
        drawn = EpisodeSampler(source, LABELS, scale=1 / 255, **SETTINGS).draw(3, 40)
        assert drawn.support_x.shape == (40, 15, 20)
        assert drawn.support_x.dtype == np.float32
        assert np.array_equal(drawn.support_x, expected.support_x)
        assert np.array_equal(drawn.query_x, expected.query_x)
    rows = EpisodeSampler(np.arange(600, dtype=np.float32)[:, None], LABELS, **SETTINGS).draw(3, 40).support_x[..., 0]
    plain = images[rows.astype(int)].reshape(40, 15, 20).astype(np.float32) * np.float32(1 / 255)
    assert np.array_equal(expected.support_x, plain)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.int8), LABELS << 50, LABELS.astype(str), LABELS.tolist()])
def test_labels_may_be_any_whole_numbers_or_text(labels):
    sampler = EpisodeSampler(SOURCE, labels, **SETTINGS)
    assert np.array_equal(sampler.labels, np.unique(labels))
    drawn = sampler.draw(0, 20)
    found = np.asarray(labels)[drawn.query_x[..., 0].astype(int)]
    assert np.array_equal(found, sampler.labels[np.repeat(drawn.classes, 4, axis=1)])


def test_held_out_classes_stay_out():
    seen, held = np.unique(LABELS)[:7], np.unique(LABELS)[7:]
    for classes in (seen, held):
        sampler = EpisodeSampler(SOURCE, LABELS, classes=classes, **SETTINGS)
        assert set(sampler.labels[np.unique(sampler.draw(0, 300).classes)]) == set(classes)


def test_a_million_labels_are_indexed_in_no_time():
    labels = np.random.default_rng(0).integers(0, 1000, 1_000_000)
    started = time.perf_counter()
    EpisodeSampler(lambda rows: rows[:, None], labels, **SETTINGS)
    assert time.perf_counter() - started < 1


def test_faults_are_named():
    few = np.concatenate([np.repeat(np.arange(5), 9), [7, 7, 8]])
    rows = np.zeros((48, 2), np.float32)
    with pytest.raises(ConfigError, match=r"need 7 rows of each class.*: 7 \(2\), 8 \(1\); leave them out"):
        EpisodeSampler(rows, few, **SETTINGS)
    EpisodeSampler(rows, few, classes=range(5), **SETTINGS)
    for change, words in (
        ({"ways": 0}, "ways"),
        ({"shots": 0}, "shots"),
        ({"queries": 0}, "queries"),
        ({"seed": -1}, "seed"),
        ({"ways": 8}, "7 classes cannot make"),
        ({"classes": [0, 1, 99]}, "99"),
    ):
        with pytest.raises(ConfigError, match=words):
            EpisodeSampler(rows, few, **(SETTINGS | change))
    for source, labels in ((rows[1:], few), (rows, few.astype(float)), (rows, few[:, None]), (np.float32(3), few)):
        with pytest.raises(ArrayError, match="labels"):
            EpisodeSampler(source, labels, **SETTINGS)
    sampler = EpisodeSampler(rows, few, classes=range(5), **SETTINGS)
    drawn = sampler.draw(0, 2)
    for change, words in (
        ({"support_x": drawn.support_x[:1]}, "`support_x` of out"),
        ({"query_x": drawn.query_x[..., ::-1]}, "`query_x` of out"),
        ({"query_x": drawn.query_x[..., :1].copy()}, "rows of out"),
        ({"query_x": drawn.query_x.astype(float)}, "float64"),
        ({"classes": drawn.classes[:, 1:]}, "classes"),
    ):
        with pytest.raises((ArrayError, ConfigError), match=words):
            sampler.draw(0, 2, out=replace(drawn, **change))
    short = EpisodeSampler(lambda rows: rows[1:, None], few, classes=range(5), **SETTINGS)
    with pytest.raises(ArrayError, match="gathered"):
        short.draw(0, 1)
    with pytest.raises(ConfigError, match="first"):
        short.draw(-1, 1)
