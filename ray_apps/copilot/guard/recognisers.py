"""Presidio's recognisers of patterns, set up for texts about machines. To import this takes a second."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

from tldextract import TLDExtract


@contextmanager
def _without_models() -> Iterator[None]:
    """Torch and Transformers cannot be imported meanwhile, as if they were not installed."""
    loaded = "transformers" in sys.modules  # Then nothing is left to spare.
    hidden = set() if loaded else {"torch", "transformers"} - sys.modules.keys()
    # Python's own way to say that a module cannot be imported, which its types do not know.
    sys.modules.update(dict.fromkeys(hidden, cast(ModuleType, None)))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


# Presidio imports them where it finds them, for recognisers with models, and here are none: six seconds and
# 420 MB of each replica.
with _without_models():
    from presidio_analyzer import EntityRecognizer, Pattern, RecognizerResult
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        UsSsnRecognizer,
    )

LEAST_SCORE = 0.3
# A word that announces the finding adds as much as with Presidio's enhancer, which needs a spaCy model.
ANNOUNCED_SCORE, LOOK_BACK = 0.35, 30

# By the list of suffixes in the package, never one from the network, and as networks of plants are called.
_DOMAINS = TLDExtract(
    cache_dir=None,
    suffix_list_urls=(),
    extra_suffixes=("corp", "home", "internal", "intranet", "lan", "local"),
)
# Each issuer with its lengths. Presidio's own pattern lacks Mastercard's 2 series and 12 and 19 digits, and
# takes microseconds since 1970. Visa's old 13 digits are left out: article numbers (EAN) look like them.
_CARDS = [
    Pattern(
        "digits",
        r"\b(?:4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}|3[068][0-9]{12}"
        r"|35[0-9]{14}|(?:1800|2131)[0-9]{11}|(?:5[06-8]|6[0-9])[0-9]{10,17})\b",
        0.3,
    ),
    Pattern("fours", r"\b(?:2[2-7]|[3-6][0-9])[0-9]{2}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}\b", 0.3),
    Pattern("four, six and the rest", r"\b3[04678][0-9]{2}([ -])[0-9]{6}\1[0-9]{4,5}\b", 0.3),
]
_SSN = [
    Pattern("hyphens", r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b", 0.5),
    Pattern("announced", r"\b[0-8][0-9]{2}[ .]?[0-9]{2}[ .]?[0-9]{4}\b", 0.05),
]
_SMALL_IBAN = Pattern("small letters", r"\b([a-z]{2}[0-9]{2}[a-z0-9]{11,30})\b", 0.5)


class _Email(EmailRecognizer):
    def validate_result(self, pattern_text: str) -> bool:
        return bool(_DOMAINS(pattern_text).fqdn)


class _Phone(PhoneRecognizer):
    def __init__(self, form: str, score: float = PhoneRecognizer.SCORE, **options: Any) -> None:
        super().__init__(**options)
        self._form, self.SCORE = re.compile(form), score

    def analyze(self, text: str, *others: object) -> list[RecognizerResult]:
        found = super().analyze(text, *others)
        return [each for each in found if self._form.search(text, each.start, each.end)]


_PHONE_WORDS = ["phone", "telephone", "cellphone", "mobile", "tel", "fax", "call", "me at", "me on"]
_RECOGNISERS: Mapping[str, Sequence[EntityRecognizer]] = {
    "email": [_Email()],
    "iban": [IbanRecognizer(patterns=[*IbanRecognizer.PATTERNS, _SMALL_IBAN])],
    "credit_card": [CreditCardRecognizer(patterns=_CARDS)],
    # Presidio's own words for it are of networks too: "security", "ssid".
    "us_ssn": [UsSsnRecognizer(patterns=_SSN, context=["ssn", "social security"])],
    "ip_address": [IpRecognizer()],
    "phone": [
        # Of no country, so with a plus; in three or more groups, as its country has them, for fewer may be
        # readings; and whatever has seven digits after a word for a telephone, too weak without one.
        PhoneRecognizer(supported_regions=["ZZ"]),
        _Phone(r"\d\D+\d+\D+\d", leniency=3),
        _Phone(r"(?:\d\D*){7}", 0.1, leniency=0, context=_PHONE_WORDS),
    ],
}
_ANNOUNCED = {
    recogniser.id: re.compile(
        rf"\b(?:{'|'.join(map(re.escape, recogniser.context))})\b[^\d,;!?]{{0,20}}\Z", re.I
    )
    for recognisers in _RECOGNISERS.values()
    for recogniser in recognisers
}
# A piece of a serial or part number, of a fraction or of a longer version.
_GOES_ON_BEFORE, _GOES_ON_AFTER = re.compile(r"(?:[\w+-]|\d\.)\Z"), re.compile(r"[\w-]|\.\d")
_VERSION = re.compile(r"\b(?:version|firmware|release|build|v\.?)\W{0,3}\Z", re.I)


def spans(text: str, kind: str) -> Iterator[tuple[int, int]]:
    """(start, end) of what Presidio finds of a kind with enough certainty."""
    for recogniser in _RECOGNISERS[kind]:
        for found in recogniser.analyze(text, recogniser.supported_entities):
            before = text[max(0, found.start - LOOK_BACK) : found.start]
            announced = bool(_ANNOUNCED[recogniser.id].search(before))
            if (
                found.score + ANNOUNCED_SCORE * announced >= LEAST_SCORE
                and not _GOES_ON_BEFORE.search(before)
                and not _GOES_ON_AFTER.match(text, found.end)
                and not (kind == "ip_address" and _VERSION.search(before))
            ):
                yield found.start, found.end
