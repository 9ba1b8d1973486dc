"""Codes that must match exactly: error codes, device models, firmware versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:[-._/][^\W_]+)*")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)+(?:[-.]?[a-z]+\d*)*)")
_PLURAL = re.compile(r"^([A-Z][A-Z0-9_/-]*\d)s$")  # `X5S` is another model than `X5`
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[-_/\s]+(?=\d)")
_SEPARATORS = re.compile(r"(?<!\d)[-_/\s]|[-_/\s](?!\d)")
_CONSTANT = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_WITH_DIGIT = re.compile(r"(?<!\S)[^\s\d]*\d\S*")
_JOINTS, _DIGITS = re.compile(r"[-/]"), re.compile(r"\d+")
_DASHES = str.maketrans({**dict.fromkeys("\u2010\u2011\u2012\u2212", "-"), "\u00ad": None})
_EN_DASH = re.compile(r"(?<=[^\W\d_])\u2013(?=\d)")  # between codes it is a range: `E101–E104`
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_MAXIMUM_LENGTH = 40


@lru_cache(maxsize=2048)  # a search asks for those that each of its candidates declares
def code_key(code: str) -> str:
    """The form in which spellings of one code meet: `HX-200`, `hx200`, `HX_200s`; or `v2.4.1`, `2.4.1`.

    Between digits a separator stays, as `-`: `E1-12` and `E11-2` are two codes.
    """
    lowered = singular(_plain(code).strip()).lower()
    if version := _VERSION.fullmatch(lowered):
        return version[1]
    return _SEPARATORS.sub("", _BETWEEN_DIGITS.sub("-", lowered))


def singular(code: str) -> str:
    """A code without the ending of its plural: `HX-200` of `HX-200s`."""
    return _PLURAL.sub(r"\1", code)


def codes_in(text: str) -> set[str]:
    """Keys of what looks like a code in a text: letters with digits, `A_B` in capitals, `1.2.3`.

    `E421/E425` is two codes; `E421-E425` may be a code of its own, or a range, whose ends are codes too.
    """
    text = _plain(text)
    words = [word for run in _WITH_DIGIT.findall(text) for word in _WORD.findall(run)]
    codes = filter(_looks_like_code, (code for word in words for code in _codes_of(word)))
    return {code_key(code) for code in (*codes, *(_CONSTANT.findall(text) if "_" in text else ()))}


def numbers_in(text: str, declared: Iterable[str]) -> set[str]:
    """Those of the declared codes that are digits alone and stand in a text: no other number is a code."""
    numbers = {key for key in keys(declared) if key.isdecimal()}
    if not numbers:
        return numbers
    lists = map(_JOINTS.split, _WORD.findall(text))  # a date is none, though its day may be a code
    return {number for listed in lists if numbers.issuperset(listed) for number in listed}


@lru_cache(maxsize=64)  # a search asks several times
def codes_asked(query: str) -> tuple[str, ...]:
    """Keys that a query may mean, in its order: every word, what it joins, and neighbours joined (`HX 200`,
    `error E 421`).

    Wider than `codes_in` on purpose: only those that some chunk carries as a code can match.
    """
    words = re.findall(r"\w+(?:[-./]\w+)*", _plain(query))
    meant = [code for word in words for code in (word, *_codes_of(word))]
    meant += [left + right for left, right in pairwise(words) if right[:1].isdigit()]
    return tuple(dict.fromkeys(key for code in meant if (key := code_key(code)) and _fits(key)))


def keys(codes: Iterable[str]) -> set[str]:
    """Keys of codes that the author of a document declared."""
    return {key for code in codes if (key := code_key(code)) and _fits(key)}


def _plain(text: str) -> str:
    """A text with the hyphens of typesetters as the one of keyboards, and without soft ones."""
    return text if text.isascii() else _EN_DASH.sub("-", text.translate(_DASHES))


def _codes_of(word: str) -> Iterator[str]:
    """The codes of a list, `E421/E425` or `421/425`, or else the word, `X1/2`; and the ends of ranges."""
    parts = word.split("/")
    listed = all(map(_looks_like_code, parts)) or all(map(str.isdecimal, parts))
    for code in parts if listed else [word]:
        yield code
        ends = code.split("-")
        # They differ in their digits alone: `AB12-CD34` is one code.
        if len(ends) == 2 and _DIGITS.sub("0", ends[0]) == _DIGITS.sub("0", ends[1]):
            yield from filter(_looks_like_code, ends)


def _looks_like_code(word: str) -> bool:
    if not _fits(word) or not _DIGIT.search(word):
        return False
    return _LETTER.search(word) is not None or _VERSION.fullmatch(word.lower()) is not None


def _fits(key: str) -> bool:
    return len(key) <= _MAXIMUM_LENGTH
