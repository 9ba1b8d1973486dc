"""Tokens of the embedding model, by which passages and prompts are measured."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from iotops.models import ResolvedModel

CHARACTERS_PER_TOKEN = 8
"""What a token stands for at most, where texts are bounded: a word that the tokenizer does not know (a key, a
base64 line) is one token however long it is."""


class Tokens:
    """Counts a tokenizer's tokens, its special ones left out."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @classmethod
    def of(cls, model: ResolvedModel) -> Tokens:
        """Those of a model; its weights are not needed."""
        return cls(Tokenizer.from_file(str(model.path / "tokenizer.json")))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in found]

    def cut(self, text: str, most: int) -> tuple[str, int]:
        """A text up to the end of its last token that is allowed, and how many tokens that are.

        `CHARACTERS_PER_TOKEN` characters count as a token at least.
        """
        text = text[: most * CHARACTERS_PER_TOKEN]
        ends = [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]
        if len(ends) > most:
            text, ends = text[: ends[most - 1]], ends[:most]
        return text, max(len(ends), -(-len(text) // CHARACTERS_PER_TOKEN))
