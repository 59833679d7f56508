"""The language model and the texts of the experiment, fetched by `amortix.datasets` and read from its cache."""

from __future__ import annotations

from typing import Any

import torch

from amortix import datasets
from amortix.errors import ConfigError


def language_model() -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct and its tokenizer: weights of four bits, dequantised to float32.

    Raises:
        ConfigError: transformers or gguf is not installed.
        SourceError: the file could not be downloaded.
    """
    try:
        import gguf  # noqa: F401 (transformers needs it here, and says so in many lines)
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise ConfigError(f"a language model needs {error.name}: pip install 'amortix[llm]'") from None
    path = datasets.fetch(datasets.SMOLLM2.name)
    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)


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
