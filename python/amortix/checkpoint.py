"""Learners on disk: safetensors for the weights, JSON beside it for what they are. No pickle, atomic writes.

A checkpoint is ``NAME.safetensors`` with the constructor's name and arguments in its metadata, and a card
``NAME.json`` that tells how it was trained. The arguments that set a size of deployment may be overridden on loading.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from amortix import methods, regimes
from amortix.errors import ConfigError, FormatError
from amortix.learner import AbstractLearner

SCHEMA = 1
_KEY = "amortix"
_REGIMES: dict[str, Callable[..., AbstractLearner]] = {
    "parametric": regimes.parametric,
    "explicit": regimes.explicit,
    "implicit": regimes.implicit,
}


def build(config: Mapping[str, Any]) -> AbstractLearner:
    """Construct an untrained learner from ``{"regime": ..., "task": ..., **arguments}``, or ``"method"``.

    Args:
        config: ``regime`` names one of the three regimes, ``method`` one of `amortix.methods.METHODS` instead.

    Raises:
        ConfigError: an unknown regime, method, task or argument.
    """
    arguments = dict(config)
    kind = "method" if "method" in arguments else "regime"
    known = {name: method.construct for name, method in methods.METHODS.items()} if kind == "method" else _REGIMES
    name = arguments.pop(kind, None)
    if name not in known:
        raise ConfigError(f"unknown {kind} {name!r}: choose one of {', '.join(known)}")
    if arguments.get("task") not in ("regression", "classification"):
        raise ConfigError(f"unknown task {arguments.get('task')!r}: choose regression or classification")
    try:
        return known[name](**arguments)
    except TypeError as error:
        raise ConfigError(f"the {name} learner does not take these settings: {error}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part, whatever fails in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's are for the owner alone
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_learner(learner: AbstractLearner, config: Mapping[str, Any], path: Path, card: Mapping[str, Any]) -> None:
    """Write the weights to ``path`` (.safetensors) and the card to the .json beside it, each atomically.

    Args:
        learner: what to save.
        config: what `build` made it from.
        path: ends in ``.safetensors``.
        card: what to tell about it, JSON-able.
    """
    # One key: safetensors keeps no order among several, and equal learners should be equal files.
    metadata = {_KEY: json.dumps({"schema": SCHEMA, "config": dict(config)}, sort_keys=True)}
    tensors = {name: t.detach().contiguous() for name, t in learner.state_dict().items()}
    write_atomically(path, save(tensors, metadata))
    write_atomically(path.with_suffix(".json"), (json.dumps(dict(card), indent=2) + "\n").encode())


def bundled() -> list[str]:
    """The names of the learners that ship with the package."""
    files = resources.files("amortix").joinpath("weights").iterdir()
    return sorted(f.name.removesuffix(".safetensors") for f in files if f.name.endswith(".safetensors"))


def locate(name: str | Path) -> Path:
    """The file of a bundled learner's name, or of a path.

    Raises:
        ConfigError: neither a bundled name nor an existing file.
    """
    path = Path(name)
    if path.suffix != ".safetensors" and str(name) in bundled():
        path = Path(str(resources.files("amortix").joinpath("weights", f"{name}.safetensors")))
    if not path.is_file():
        raise ConfigError(f"no learner {str(name)!r}: give a .safetensors file or one of {', '.join(bundled())}")
    return path


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file open for reading; whatever is wrong with it becomes a `FormatError` that names it."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is no readable safetensors file: {error}") from None


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors of a checkpoint.

    Raises:
        FormatError: not a checkpoint, damaged, or of a later schema.
    """
    with opened(path) as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if _KEY not in metadata:
        raise FormatError(f"{path} is a safetensors file but not an amortix learner: its metadata lack {_KEY!r}")
    try:
        head = json.loads(metadata[_KEY])
        schema, config = int(head["schema"]), dict(head["config"])
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path} is damaged: its metadata do not say what learner it is") from None
    if schema > SCHEMA:
        raise FormatError(f"{path} has schema {schema}, this release reads up to {SCHEMA}: upgrade amortix")
    return config, tensors


def load(name: str | Path, **sizes: Any) -> AbstractLearner:
    """Load a learner by bundled name or path.

    Args:
        name: such as ``"explicit-regression"``, or a path to a .safetensors file.
        sizes: arguments of the regime's constructor that override the trained ones, such as ``size=1024``.

    Raises:
        ConfigError: no such learner, or no such argument.
        FormatError: the file is damaged, its weights do not fit, or it comes from a later release.
    """
    path = locate(name)
    config, tensors = read(path)
    learner = build(config | sizes)
    expected = {k: tuple(v.shape) for k, v in learner.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in tensors.items()}
    if expected != found:
        wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))[0]
        raise FormatError(
            f"{path}: weight {wrong!r} has shape {found.get(wrong)}, expected {expected.get(wrong)}: "
            "the file does not fit this release's learner"
        )
    learner.load_state_dict(tensors)
    return learner.eval().requires_grad_(False)


def card(name: str | Path) -> dict[str, Any]:
    """What a checkpoint's card tells; empty where there is none."""
    path = locate(name).with_suffix(".json")
    return json.loads(path.read_text()) if path.is_file() else {}


def parameters(learner: AbstractLearner) -> int:
    """How many numbers were learned."""
    return sum(p.numel() for p in learner.parameters())
