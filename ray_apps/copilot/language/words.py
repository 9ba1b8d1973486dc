"""The words of a text that carry meaning."""

from __future__ import annotations

import re
from functools import lru_cache

import snowballstemmer

WORDS = re.compile(r"(?<![A-Za-z])(?<![A-Za-z]-)[A-Za-z](?:-?[A-Za-z])++(?!-\d)")  # of `HX-200`, a code, none
NEGATION = re.compile(r"\b(?:no|not|never|without|neither|nor|cannot|\w+n't)\b", re.I)
STOP_WORDS = frozenset(
    """
    a an and are as at be been but by can could did do does for from had has have how i if in into is it
    its may me my of on or our should so such than that the their them then there these they this to was
    we were what when where which while who why will with would you your about after all also any
    because before between both each following means mean tell please give show need needs first long
    much many often wrong use used happen happens get say says
    now just kindly hi hello hey thank thanks help
    must shall might ought frequently usually typically exactly
    whats hows wheres whos im pls plz
    """.split()
)
_stem = lru_cache(maxsize=50_000)(snowballstemmer.stemmer("english").stemWord)


def content_words(text: str) -> set[str]:
    """Stems of the words that carry meaning."""
    return {_stem(word) for word in map(str.lower, WORDS.findall(text)) if word not in STOP_WORDS}
