"""Kernels on the CPU: a ``.cu`` file is compiled as C++ against ``emulator.hpp`` and launched.

Every buffer is lent with poisoned margins and at the tensor's own distance from a multiple of 16 bytes, outputs start
as NaN, and inputs must come back unchanged. A pointer named ``inout_...`` starts with what the tensor holds.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HEADER = Path(__file__).parent / "emulator.hpp"
ORDERS = range(4)
MARGIN = 64
POISON = np.uint32(0x7FC0DEAD)
_SIGNATURE = re.compile(r'extern "C" __global__ void\s*(?:__launch_bounds__\(\w+\))?\s*(\w+)\(([^)]*)\)')
_SCALARS = {
    "int": (ctypes.c_int, np.int32),
    "long long": (ctypes.c_longlong, np.int64),
    "float": (ctypes.c_float, np.float32),
    "double": (ctypes.c_double, np.float64),
}
_POINTERS = {
    "int": torch.int32,
    "int4": torch.int32,
    "long long": torch.int64,
    "float": torch.float32,
    "float4": torch.float32,
    "double": torch.float64,
}


def signatures(source: str) -> dict[str, list[tuple[str, str]]]:
    """The kernels of a source file: by name, (type, name) of each parameter."""
    kernels = {}
    for name, parameters in _SIGNATURE.findall(source):
        words = [" ".join(parameter.split()).rpartition(" ") for parameter in parameters.split(",")]
        kernels[name] = [(kind, parameter) for kind, _, parameter in words]
    assert kernels, "no kernel found"
    return kernels


def compiler() -> str | None:
    return shutil.which("g++") or shutil.which("c++")


class EmulatorError(Exception):
    """The kernel did what CUDA leaves undefined, or wrote where it should not."""


class Kernels:
    """The kernels of one source file, compiled for the emulator into ``folder``."""

    def __init__(self, source: str, folder: Path) -> None:
        self.parameters = signatures(source)
        code, library = folder / "kernels.cpp", folder / "kernels.so"
        entries = "".join(map(_entry, self.parameters, self.parameters.values()))
        code.write_text(f'#include "{HEADER}"\n{source}\n{entries}', encoding="utf-8")
        options = ["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wno-unused-function"]
        options += ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]
        command = [compiler() or "g++", *options, str(code), "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        self._library = ctypes.CDLL(str(library))

    def run(self, kernel: str, blocks: int, threads: int, shared: int, order: int, arguments: Sequence[object]) -> None:
        """Carry out one launch; tensors that the kernel may write are filled with its results."""
        parameters = self.parameters[kernel]
        assert len(arguments) == len(parameters)
        lent = [_lend(*pair) for pair in zip(parameters, arguments, strict=True)]
        values = [value if buffer is None else _inside(buffer).ctypes.data for value, buffer in lent]
        entry = self._library[f"entry_{kernel}"]
        entry.restype = ctypes.c_char_p
        kinds = [_SCALARS[kind][0] if kind in _SCALARS else ctypes.c_void_p for kind, _ in parameters]
        entry.argtypes = [ctypes.c_int] * 4 + kinds
        error = entry(blocks, threads, shared, order, *values)
        if error:
            raise EmulatorError(f"{kernel}: {error.decode()}")
        for (kind, name), argument, (_, buffer) in zip(parameters, arguments, lent, strict=True):
            if buffer is not None:
                _take_back(kind, name, argument, buffer)


def _entry(kernel: str, parameters: list[tuple[str, str]]) -> str:
    declared = ", ".join(f"{kind} {name}" for kind, name in parameters)
    names = ", ".join(name for _, name in parameters)
    return (
        f'extern "C" const char* entry_{kernel}(int blocks, int threads, int bytes, int order, {declared}) {{\n'
        f"    return emulator::run(blocks, threads, bytes, order, [=] {{ {kernel}({names}); }});\n}}\n"
    )


def _inside(buffer: np.ndarray) -> np.ndarray:
    return buffer[MARGIN : len(buffer) - MARGIN]


def _lend(parameter: tuple[str, str], argument: object) -> tuple[object, np.ndarray | None]:
    kind, name = parameter
    if kind in _SCALARS:
        assert type(argument) is _SCALARS[kind][1], f"{name} is {kind}, given {type(argument)}"
        return argument.item(), None
    if type(argument) is np.uint64:
        return int(argument) or None, None
    assert isinstance(argument, Tensor), f"{name} is a pointer, given {type(argument)}"
    expected = _POINTERS[kind.removeprefix("const ").rstrip("*")]
    assert argument.dtype == expected, f"{name} is {kind}, given {argument.dtype}"
    assert argument.is_contiguous(), f"{name} is not contiguous"
    words = _words(argument)
    memory = np.full(len(words) + 2 * MARGIN + 4, POISON, np.uint32)
    shift = (argument.data_ptr() - memory.ctypes.data) % 16 // 4
    buffer = memory[shift : len(memory) - 4 + shift]
    if kind.startswith("const") or name.startswith("inout_"):
        _inside(buffer)[:] = words
    return None, buffer


def _words(tensor: Tensor) -> np.ndarray:
    return tensor.reshape(-1).numpy().view(np.uint32)


def _take_back(kind: str, name: str, argument: Tensor, buffer: np.ndarray) -> None:
    margins = np.concatenate([buffer[:MARGIN], buffer[len(buffer) - MARGIN :]])
    if (margins != POISON).any():
        raise EmulatorError(f"a write went beyond {name}")
    given = _words(argument)
    if kind.startswith("const") and not np.array_equal(given, _inside(buffer)):
        raise EmulatorError(f"{name} is an input and was written to")
    given[:] = _inside(buffer)
