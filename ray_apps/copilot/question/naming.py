"""The devices that a question names by their kind and number: `pump 7`, `machines 6 and 7`, `machine-6`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

KINDS = "machine|device|unit|pump|compressor"
_UNIT = (
    r"%|°|(?:hours?|h|min(?:ute)?s?|sec(?:ond)?s?|s|days?|weeks?|months?|years?|times?|turns?|degrees?|rpm|bar|"
    r"mm|v)\b"
)
# `Run the pump 24 hours` names none.
_NUMBER = rf"\d{{1,6}}(?![\w-])(?!\s*(?:{_UNIT}))"
_SPACE = r"s?\s+(?:no\.?\s*|nr\.?\s*|number\s+|#\s*)?"
NUMBERED = re.compile(
    rf"\b(?P<kind>{KINDS})(?:(?P<from>s\s+\d{{1,6}})(?:\s*-\s*|\s+to\s+)(?P<to>{_NUMBER})|(?:[-_]?|{_SPACE})"
    rf"(?P<numbers>{_NUMBER}(?:(?:\s*[,/+&]\s*|\s+)(?:and\s+|or\s+)?{_NUMBER})*))",
    re.I,
)
RANGE = re.compile(
    r"(?<![\w-])(?P<name>[a-z][a-z_-]{0,15})(?P<from>\d{1,6}) (?:to|through|-|\u2013) "
    r"(?P=name)?(?P<to>\d{1,6})(?![\w-])",
    re.I,
)
MOST_IN_RANGE = 20


@dataclass(frozen=True)
class Known:
    """What a tenant has of that which a question names: devices and models, as they are spelt there, and
    keys of codes that some device reported or a document declares."""

    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    codes: frozenset[str] = frozenset()

    def device(self, ids: Collection[str]) -> str | None:
        """The first of some ids that a device has, in any case if none is spelt so."""
        in_any = {each.lower(): each for each in self.devices}
        found = (each if each in self.devices else in_any.get(each.lower()) for each in ids)
        return next(filter(None, found), None)

    def names(self, word: str) -> bool:
        """Whether a word is the name of a device, be it by kind and number."""
        return any(self.device(ids) for ids in [(word,), *mentions(word)])


def mentions(question: str) -> list[tuple[str, ...]]:
    """Of each device that a question names so, the ids that it may have, the likeliest first."""
    return list(dict.fromkeys(ids for found in NUMBERED.finditer(question) for ids in _ids(found)))


def ranged(question: str) -> list[tuple[str, ...]]:
    """The ids behind the first of a range, which may be of devices or not: `P-101 to P-104`."""
    found = ((each["name"], each["from"], int(each["to"])) for each in RANGE.finditer(question))
    return [
        (f"{name}{number:0{len(first)}}",)
        for name, first, last in found
        for number in range(int(first) + 1, min(last, int(first) + MOST_IN_RANGE) + 1)
    ]


def spelt_out(question: str, known: Known) -> str:
    """The question with the ids of devices in place of their kind and number."""

    def spelt(found: re.Match[str]) -> str:
        meant = [known.device(ids) for ids in _ids(found)]
        return " and ".join(filter(None, meant)) if all(meant) else found[0]

    return NUMBERED.sub(spelt, question)


def _ids(found: re.Match[str]) -> list[tuple[str, ...]]:
    kind, numbers = found["kind"].lower(), re.findall(r"\d+", found["numbers"] or "")
    if found["to"]:
        first = int(found["from"][1:])
        numbers = [str(each) for each in range(first, min(int(found["to"]), first + MOST_IN_RANGE) + 1)]
    return [_forms(kind, number) for number in numbers]


def _forms(kind: str, number: str) -> tuple[str, ...]:
    """Fleets count with zeros or without, and call any kind of device a machine."""
    plain = str(int(number))
    numbers = dict.fromkeys([number, plain, plain.zfill(2), plain.zfill(3)])
    return tuple(dict.fromkeys([*(f"{kind}-{each}" for each in numbers), f"machine-{plain.zfill(3)}"]))
