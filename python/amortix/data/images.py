"""Readers of the image sets of few-shot learning, from the files in which they are given away.

`read_idx` reads MNIST and its kin, `read_omniglot` the zip files of Omniglot. Nothing is downloaded.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortix.data._arrays import Integers, empty, whole
from amortix.errors import ArrayError, ConfigError, FormatError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE = 1 << 20


def read_idx(path: str | Path) -> NDArray[Any]:
    """The array of an idx file, plain or compressed by gzip, in the machine's byte order.

    Raises:
        FormatError: the file is missing, is no idx file, or is shorter or longer than its header says.

    References:
        LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (1998), file formats.
    """
    try:
        with _opened(Path(path)) as file:
            shape, dtype = _head(file, path)
            array = empty("array", shape, dtype)
            read = _fill(file, array.reshape(-1).view(np.uint8).data)
            beyond = file.read(1)
    except ArrayError as error:
        raise FormatError(f"{path} promises more than fits into memory ({error}): fetch it again") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(
            f"{path} cannot be read as an idx file ({error}): check the path, or fetch it again"
        ) from None
    if read < array.nbytes or beyond:
        how = "longer" if beyond else "shorter"
        raise FormatError(f"{path} is {how} than its header says, {dtype} {list(shape)}: fetch it again")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _opened(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def _head(file: io.BufferedIOBase, path: str | Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise FormatError(f"{path} is no idx file: it does not begin with two zeros and a known kind of number")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise FormatError(f"{path} ends within its header: fetch it again")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4")), np.dtype(_DTYPES[magic[2]])


def _fill(file: io.BufferedIOBase, memory: memoryview) -> int:
    """Read to the end of ``memory`` or of the file; pieces, since a damaged header may promise anything."""
    at = 0
    while at < len(memory) and (piece := file.read(min(_PIECE, len(memory) - at))):
        memory[at : at + len(piece)] = piece
        at += len(piece)
    return at


@dataclass(frozen=True)
class Omniglot:
    """Drawings of characters.

    Attributes:
        images: ``[N, H, W]`` uint8, black (0) on white (255) as drawn.
        labels: the character of each, ``[N]``.
        characters: ``alphabet/character`` of each label.
        alphabets: the alphabet of each label.
    """

    images: NDArray[np.uint8]
    labels: Integers
    characters: tuple[str, ...]
    alphabets: tuple[str, ...]

    def of(self, alphabets: Sequence[str]) -> Integers:
        """The labels of all characters of some alphabets, for `EpisodeSampler`.

        Raises:
            ConfigError: there is no such alphabet.
        """
        if unknown := sorted(set(alphabets) - set(self.alphabets)):
            raise ConfigError(
                f"there is no alphabet {unknown[0]!r}: there are {', '.join(sorted(set(self.alphabets)))}"
            )
        return np.flatnonzero(np.isin(self.alphabets, list(alphabets)))


def read_omniglot(*paths: str | Path, size: int | None = None) -> Omniglot:
    """The drawings in zip files of ``alphabet/character/drawing.png``, in the order of these names.

    A drawing that several files hold is read once. PNG files are decoded by Pillow.

    Args:
        paths: of the zip files.
        size: height and width to which each drawing is reduced, every pixel the mean of those that it covers; None
            keeps the drawings as they are.

    Raises:
        FormatError: a file is missing or damaged, holds no drawings, or drawings of different sizes.
        ConfigError: Pillow is not installed.

    References:
        Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program induction",
        Science 350 (2015).
    """
    side = None if size is None else whole("size", size, 1)
    drawings: dict[tuple[str, str, str], NDArray[np.uint8]] = {}
    for path in paths:
        drawings |= _read_zip(Path(path), side, drawings)
    if not drawings:
        raise FormatError(f"there are no drawings alphabet/character/drawing.png in {', '.join(map(str, paths))}")
    names = sorted(drawings)
    if len(shapes := {drawings[name].shape for name in names}) > 1:
        raise FormatError(
            f"drawings have different sizes, such as {sorted(shapes)[:2]}: pass `size` to make them equal"
        )
    characters = sorted({(alphabet, character) for alphabet, character, _ in names})
    label = {character: index for index, character in enumerate(characters)}
    return Omniglot(
        np.stack([drawings[name] for name in names]),
        np.array([label[name[:2]] for name in names]),
        tuple("/".join(character) for character in characters),
        tuple(alphabet for alphabet, _ in characters),
    )


def _read_zip(
    path: Path, side: int | None, known: dict[tuple[str, str, str], NDArray[np.uint8]]
) -> dict[tuple[str, str, str], NDArray[np.uint8]]:
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                parts = tuple(name.split("/")[-3:])
                if len(parts) == 3 and name.endswith(".png") and parts not in known:
                    found[parts] = _decoded(f"{path}/{name}", archive.read(name), side)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{path} cannot be read as a zip file ({error}): check the path, or fetch it again") from None
    return found


def _decoded(name: str, data: bytes, side: int | None) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError("reading PNG files needs Pillow: install amortix[images]") from None
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            gray = image.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(f"{name} is no readable PNG file ({error}): fetch it again") from None
    return np.asarray(gray if side is None else gray.resize((side, side), Image.Resampling.BOX))
