"""Readers of image files, and the tasks that are made of images."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import small
from amortix.data import EpisodeSampler, ImageTasks, read_idx, read_omniglot
from amortix.errors import ArrayError, ConfigError, FormatError
from amortix.evaluation import evaluate

FILES = Path(__file__).parent.parent.parent / "shared/data"


def idx(code: int, sizes: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + body


@pytest.mark.parametrize(
    ("code", "form", "dtype"),
    [(8, "B", "u1"), (9, "b", "i1"), (11, "h", "i2"), (12, "i", "i4"), (13, "f", "f4"), (14, "d", "f8")],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_of_every_kind_are_read(tmp_path, code, form, dtype, pack):
    values = [3, 100, 1, 0, 77, 12]
    path = tmp_path / "any name"
    path.write_bytes(pack(idx(code, (2, 3), struct.pack(f">6{form}", *values))))
    array = read_idx(path)
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert array.tolist() == [values[:3], values[3:]]


def test_damaged_idx_files_are_refused(tmp_path):
    good, path = idx(8, (2, 3), bytes(6)), tmp_path / "file"
    for broken, words in (
        (good[:-1], "shorter"),
        (good + b"x", "longer"),
        (good[:9], "within its header"),
        (b"", "no idx file"),
        (b"\1" + good[1:], "no idx file"),
        (good[:2] + b"\x0a" + good[3:], "no idx file"),
        (idx(8, (2**32 - 1, 9), bytes(6)), "shorter|memory"),
        (gzip.compress(good)[:-9], "cannot be read"),
        (gzip.compress(good)[:20] + b"??" + gzip.compress(good)[22:], "cannot be read"),
        (gzip.compress(good[:-1]), "shorter"),
    ):
        path.write_bytes(broken)
        with pytest.raises(FormatError, match=words):
            read_idx(path)
    with pytest.raises(FormatError, match="cannot be read"):
        read_idx(tmp_path / "nothing")


def test_real_digits_are_read():
    if not (folder := FILES / "mnist").is_dir():
        pytest.skip("the files of MNIST are not beside the project")
    images, labels = (read_idx(folder / f"t10k-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    assert (images.shape, images.dtype, labels.shape) == ((10_000, 28, 28), np.uint8, (10_000,))
    # Counts of the digits in the test set, as published with it.
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def png(array: np.ndarray, mode: str = "1") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).convert(mode).save(file, "PNG")
    return file.getvalue()


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def drawing(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (size, size), dtype=np.uint8) * 255


def test_drawings_are_read_in_the_order_of_their_names(tmp_path):
    names = ["set/Korean/character02/9_01.png", "set/Korean/character01/8_02.png", "set/Greek/character01/7_01.png"]
    first = archive(tmp_path / "1.zip", {name: png(drawing(i)) for i, name in enumerate(names)} | {"set/": b""})
    # The second file holds a drawing of the first again, one more of a known character, and something else.
    more = {
        names[0].replace("set", "other"): png(drawing(0)),
        "other/Korean/character01/8_01.png": png(drawing(3), "L"),
    }
    second = archive(tmp_path / "2.zip", more | {"other/readme.txt": b"hello"})
    found = read_omniglot(first, second)
    assert found.characters == ("Greek/character01", "Korean/character01", "Korean/character02")
    assert found.alphabets == ("Greek", "Korean", "Korean")
    assert found.labels.tolist() == [0, 1, 1, 2]
    assert np.array_equal(found.images, np.stack([drawing(i) for i in (2, 3, 1, 0)]))
    assert found.of(["Korean"]).tolist() == [1, 2]
    with pytest.raises(ConfigError, match="'Roman'"):
        found.of(["Roman"])
    small = read_omniglot(first, size=3).images
    means = drawing(2).reshape(3, 2, 3, 2).mean((1, 3))
    # Rows and columns are averaged one after the other, and rounded each time.
    assert np.abs(small[0] - means).max() <= 1
    sampler = EpisodeSampler(found.images, found.labels, ways=1, shots=1, queries=1, seed=0, classes=[1])
    assert sampler.draw(0, 2).query_x.shape == (2, 1, 36)


def test_damaged_drawings_are_refused(tmp_path):
    good = png(drawing(0))
    for files, words in (
        ({"a/b/c.png": good[:40]}, "a/b/c.png is no readable PNG"),
        ({"a/b/c.png": b"no picture"}, "a/b/c.png is no readable PNG"),
        ({"a/b/c.png": good, "a/b/d.png": png(drawing(0, 5))}, "different sizes"),
        ({"a/readme.txt": b""}, "no drawings"),
    ):
        with pytest.raises(FormatError, match=words):
            read_omniglot(archive(tmp_path / "x.zip", files))
    broken = tmp_path / "x.zip"
    broken.write_bytes(broken.read_bytes()[:-30])
    for path in (broken, tmp_path / "nothing.zip"):
        with pytest.raises(FormatError, match="zip file"):
            read_omniglot(path)


def test_real_drawings_are_read():
    paths = sorted((FILES / "omniglot").glob("*.zip"))
    if not paths:
        pytest.skip("the files of Omniglot are not beside the project")
    found = read_omniglot(*paths, size=28)
    # Twenty people drew each character once.
    assert (np.bincount(found.labels) == 20).all()
    assert found.images.shape == (len(found.labels), 28, 28)
    assert {"Greek", "Korean", "Latin"} <= set(found.alphabets)
    assert len(set(found.characters)) == len(found.characters) == len(found.alphabets)
    # Ink is thin: most of every drawing is white.
    assert found.images.reshape(len(found.images), -1).mean(1).min() > 128


RANDOM = np.random.default_rng(0)
CLASSES = np.arange(400) % 4 * 3
# A class shows in a bright corner.
PICTURES = (RANDOM.random((400, 6, 5)) * 120).astype(np.uint8)
PICTURES[np.arange(400), CLASSES // 3] += 100


def tasks(**options) -> ImageTasks:
    return ImageTasks(PICTURES, CLASSES, **({"seed": 3, "dim": 16} | options))


def test_rows_of_image_tasks_depend_on_task_step_and_element_alone():
    x, y = tasks().context([5, -2, 5], [0, 0, 1], 9)
    again_x, again_y = tasks().context([-2], [0], 4)
    assert (x.shape, y.shape) == ((3, 9, 16), (3, 9))
    assert np.array_equal(x[1:2, :4], again_x)
    assert np.array_equal(y[1:2, :4], again_y)
    assert not np.array_equal(x[0], x[2])
    out = np.empty_like(x), np.empty_like(y)
    assert tasks().context([5, -2, 5], [0, 0, 1], 9, out=out)[0] is out[0]
    assert np.array_equal(out[0], x)
    other = tasks(seed=4).context([5], [0], 9)[0]
    assert not np.array_equal(other, x[:1])


def test_image_tasks_project_the_centred_pixels():
    family = tasks(dim=1000)
    drawn = np.concatenate([family.context([8], [0], 4000)[0][0], family.query([8], 2000)[0][0]])
    rows = np.unique(drawn, axis=0)
    assert len(rows) == 400
    pixels = PICTURES.reshape(400, -1).astype(float)
    centred = (pixels - pixels.mean(0)) / np.sqrt(pixels.var(0).sum())
    # The centre is that of all images: 30 products of up to 255 · 4 each are rounded.
    assert np.abs(rows.mean(0)).max() < 30 * 255 * 4 * 6e-8 / np.sqrt(pixels.var(0).sum())
    # A normal projection to D columns keeps squared lengths up to a relative error of √(2 / D).
    exact, found = (np.sort((array**2).sum(1)) for array in (centred, rows / np.sqrt(1000)))
    assert np.abs(found - exact).max() < 5 * np.sqrt(2 / 1000) * exact.max()
    # The variance of a column is a weighted sum of squared normals with mean 1.
    spectrum = np.linalg.eigvalsh(np.cov(centred.T, bias=True))
    assert abs(rows.var(0).mean() - 1) < 5 * np.sqrt(2 * (spectrum**2).sum() / 1000)


def test_queries_show_images_that_no_context_shows():
    family = tasks(holdout=0.25)
    x, _ = family.context([2], [0], 4000)
    query, target, signal = family.query([2], 2000)
    shown, asked = ({row.tobytes() for row in part[0]} for part in (x, query))
    # With 4000 draws of 300 images, 300 (1 - 1/300)^4000 = 5e-4 are missed on average; of 100 and 2000 2e-7.
    assert (len(shown), len(asked)) == (300, 100)
    assert not shown & asked
    assert signal.shape == (1, 2000, 4)
    assert np.array_equal(signal.argmax(2), target)
    assert np.array_equal(signal.sum(2), np.ones((1, 2000)))
    assert not np.array_equal(query, family.query([2], 2000, draw=1)[0])


def test_classes_are_in_another_order_in_each_task():
    # Images of one pattern in three strengths keep their order of length under every projection: it tells the class.
    strengths = np.array([0, 30, 200] * 20, np.uint8)
    family = ImageTasks(strengths[:, None] * np.ones((1, 6), np.uint8), np.arange(60) % 3, seed=1, dim=8)
    x, y = family.context(np.arange(1200), np.zeros(1200, int), 40)
    assert family.classes == 3
    lengths = (x**2).sum(2)
    orders = np.zeros((3, 3, 3))
    for length, labels in zip(lengths, y.astype(int), strict=True):
        by_label = [length[labels == label] for label in range(3)]
        # The same class has the same label throughout a task.
        assert all(np.ptp(part) <= 1e-4 * part.max() for part in by_label)
        orders[tuple(np.argsort([part[0] for part in by_label]))] += 1
    counts = orders[orders > 0]
    assert len(counts) == 6
    assert np.abs(counts - 200).max() < 5 * np.sqrt(1200 * (1 / 6) * (5 / 6))


def test_image_tasks_describe_themselves():
    family = tasks()
    assert (family.features, family.outputs, family.classes, family.family.name) == (16, 4, 4, "images")
    assert family.dims([1, 2]).tolist() == [16, 16]
    assert family.n_classes([1, 2]).tolist() == [4, 4]
    assert family.query([], 3)[0].shape == (0, 3, 16)


def test_learners_are_evaluated_on_image_tasks():
    (learner,) = small.learners("classification", ["parametric"])
    first, last = evaluate(learner.learner, tasks(), steps=(1, 30), tasks=16, batch=16, points=32)
    # Knowing nothing costs log 4 nats; rows of the same images must teach something, whatever their projection.
    assert last["excess"] < min(first["excess"], np.log(4))
    assert (last["family"], last["oracle"]) == ("images", None)


def test_faults_of_image_tasks_are_named():
    for options in ({"seed": -1}, {"dim": 0}, {"holdout": 0.0}, {"holdout": 1.0}, {"holdout": 0.001}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            tasks(**options)
    for images, labels in (
        (PICTURES[1:], CLASSES),
        (PICTURES.astype(float), CLASSES),
        (np.zeros_like(PICTURES), CLASSES),
        (PICTURES, CLASSES.astype(float)),
    ):
        with pytest.raises(ArrayError):
            ImageTasks(images, labels, seed=0)
    with pytest.raises(ArrayError, match="`y` must have shape"):
        tasks().context([1], [0], 4, out=(np.empty((2, 4, 16), np.float32), np.empty((2, 4), np.float32)))
