"""Personal data as patterns with their checksums: no model, so it finds forms and not names of people.

Checks: Luhn (ISO/IEC 7812-1) for payment cards, mod 97 (ISO 13616) for IBANs, the ranges that the United
States never issued for social security numbers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from typing import Literal, get_args

PersonalKind = Literal["email", "phone", "credit_card", "iban", "us_ssn", "ip_address"]
PERSONAL_KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)

_PATTERNS: dict[PersonalKind, str] = {
    "email": r"(?<![\w.+-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "credit_card": r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-]|\.\d)",
    "us_ssn": r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])",
    "ip_address": r"(?<![\w.:])"
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{1,4}:+){2,7}[0-9a-fA-F]{1,4})(?![\w:]|\.\d)",
    # International with a plus or 00, with an area code in parentheses, in the groups of North America, or
    # any digits after a word that announces a telephone.
    "phone": r"(?<![\w.+/-])(?:(?:\+|00)[1-9]\d{0,2}[ .()/-]{0,2}(?:\d[ .()/-]{0,2}){6,12}\d"
    r"|\(\d{2,5}\) ?\d{2,4}(?:[ .-]?\d{2,4}){1,3}"
    r"|(?:1[ .-])?[2-9]\d{2}[.-][2-9]\d{2}[.-]\d{4}"
    r"|(?:(?<=phone )|(?<=tel )|(?<=tel\. )|(?<=tel: )|(?<=call )|(?<=me at )|(?<=me on )"
    r"|(?<=mobile )|(?<=number is )"
    r"|(?<=phone: ))0?\d(?:[ ./-]?\d){6,12})(?:x\d{1,5})?(?![\w-]|\.\d)",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    doubled = [int(each) * (1 + place % 2) for place, each in enumerate(reversed(digits))]
    return sum(each - 9 * (each > 9) for each in doubled) % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 12 <= len(digits) <= 19 and digits[0] in "3456" and len(set(digits)) > 2 and luhn(digits)


def _is_iban(text: str) -> bool:
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


_CHECKS: dict[PersonalKind, Callable[[str], bool]] = {
    "credit_card": _is_card,
    "iban": _is_iban,
    "ip_address": _is_address,
}


def personal_data(text: str, kinds: Collection[PersonalKind]) -> Iterator[tuple[int, int, PersonalKind]]:
    """(start, end, kind) of what is personal, in the order of the text; where two overlap, the first kind."""
    taken: list[tuple[int, int, PersonalKind]] = []
    for kind, pattern in _COMPILED.items():
        if kind not in kinds:
            continue
        for match in pattern.finditer(text):
            fits = _CHECKS.get(kind, bool)(match.group())
            if fits and all(match.end() <= start or end <= match.start() for start, end, _ in taken):
                taken.append((match.start(), match.end(), kind))
    yield from sorted(taken)


def scrubbed(text: str, kinds: Collection[PersonalKind] = PERSONAL_KINDS) -> str:
    """The text with each piece of personal data replaced by the name of its kind."""
    for start, end, kind in reversed(list(personal_data(text, kinds))):
        text = f"{text[:start]}<{kind}>{text[end:]}"
    return text
