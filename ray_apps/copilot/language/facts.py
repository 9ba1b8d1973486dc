"""The numbers and codes of a text, in one spelling, so that a claim's can be looked for in a source."""

from __future__ import annotations

import re

from indexes.codes import code_key

CODE = r"\b[A-Za-z]+[-_]?\d[\w.-]*\b|(?<=\d)[A-Za-z]+\d\w*"
"""What is glued behind a number may be one by itself: `m3` of `120m3/h`, `x1F` of `0x1F`."""
MINUS = r"(?<![\w)\]%°\"'/+.-])(?<!\d\s)[-\u2212\u2013]|\b[Mm]inus\s"
"""Not that of `5-10`, `5 -10` and `5%-10%`, which are ranges, nor of `+/-5`."""
THOUSANDS = r"[1-9]\d{0,2}(?:,\d{3})++(?:\.\d++)?(?!,?\d)"
NUMBER = rf"{THOUSANDS}|(?<!\d,)\d++,\d++(?!,\d)|\d++(?:\.\d++)*+|(?<!\.)\.\d++"
FIGURE = re.compile(rf"{CODE}|(?P<minus>{MINUS})?(?<!\w)(?P<number>{NUMBER})(?!D\b)")  # `3D` counts nothing
_FEW = {
    word: count
    for count, word in enumerate(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split(),
        1,
    )
}
_TENS = {
    word: 10 * count
    for count, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
COUNTED = re.compile(
    rf"\b(?:({'|'.join(_TENS)})(?:[-\s]({'|'.join([*_FEW][:9])}))?|({'|'.join([*_FEW][1:])}))\b", re.I
)
"""A number in words. `One` alone is none: `one of them`, `the other one`."""


def figures(text: str) -> set[str]:
    """Codes, and numbers in digits, without their units: `52mm/s` is 52, `1,5 mm` 1.5, `1,500` 1500.

    They are what a question must find: `the two causes of E421` asks for E421 alone.
    """
    return {_figure(found) for found in FIGURE.finditer(text)}


def facts(text: str) -> set[str]:
    """The same, and numbers in words, which equal those in digits: `nine hours` is 9."""
    return figures(text) | {_count(found) for found in COUNTED.finditer(text)}


def _figure(found: re.Match[str]) -> str:
    number = found["number"]
    if not number:
        return code_key(found[0])
    if re.fullmatch(THOUSANDS, number):
        number = number.replace(",", "")
    return f"{'-' * bool(found['minus'])}{'0' * number.startswith('.')}{number.replace(',', '.')}"


def _count(found: re.Match[str]) -> str:
    return str(sum((_FEW | _TENS).get(word.lower(), 0) for word in found.groups("")))
