"""The language model and the texts of the experiment, fetched by `amortix.datasets` and read from its cache."""

from __future__ import annotations

from typing import Any

import torch

from amortix import datasets
from amortix.errors import ConfigError


def causal_model(name: str) -> Any:
    """A causal language model in float32.

    Args:
        name: ``"smollm2-135m-instruct"``, whose weights of four bits are dequantised; or a folder that
            ``save_pretrained`` of transformers wrote, with weights in safetensors.

    Raises:
        ConfigError: transformers or gguf is not installed.
        SourceError: the file could not be downloaded.
        OSError: there is no such folder.
    """
    transformers = _transformers()
    if name != datasets.SMOLLM2.name:
        options = {"local_files_only": True, "use_safetensors": True}
        return transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, **options)
    path = datasets.fetch(name)
    return transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


def tokenizer() -> Any:
    """The tokenizer of SmolLM2-135M-Instruct; errors as in `causal_model`."""
    transformers, path = _transformers(), datasets.fetch(datasets.SMOLLM2.name)
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def _transformers() -> Any:
    try:
        import gguf  # noqa: F401 (without it transformers fails late, in many lines)
        import transformers
    except ImportError as error:
        raise ConfigError(f"a language model needs {error.name}: pip install 'amortix[llm]'") from None
    return transformers


def newsgroups(part: str, groups: tuple[str, ...], words: int = 10) -> dict[str, list[str]]:
    """Posts to some of the 20 newsgroups, in the order of the file.

    Args:
        part: ``"train"`` or ``"test"``.
        groups: names, such as ``"sci.space"``.
        words: posts of fewer are left out.

    Raises:
        SourceError: the file could not be downloaded.
    """
    lines = datasets.fetch(f"newsgroups-{part}").read_text(encoding="utf-8").split("\n")[3:]
    posts = [line.split("\t") for line in lines if "\t" in line]
    return {group: [text for name, text in posts if name == group and len(text.split()) >= words] for group in groups}
