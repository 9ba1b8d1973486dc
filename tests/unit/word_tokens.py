"""Tokens that are words and marks, for tests that need no model."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from indexes.tokens import Tokens


def words() -> Tokens:
    """Each word and each run of marks is a token."""
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    return Tokens(tokenizer)
