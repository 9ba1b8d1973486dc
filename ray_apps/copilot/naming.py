"""The devices that a question names by their kind and number: `pump 7`, `machines 6 and 7`, `machine-6`."""

from __future__ import annotations

import re
from collections.abc import Collection

KINDS = "machine|device|unit|pump|compressor"
_NUMBER = r"\d{1,6}(?![\w-])"
NUMBERED = re.compile(
    rf"\b(?P<kind>{KINDS})(?:-|s?\s+(?:no\.?\s*|number\s+|#\s*)?)"
    rf"(?P<numbers>{_NUMBER}(?:(?:\s*,\s*|\s+)(?:and\s+|or\s+|&\s+)?{_NUMBER})*)",
    re.I,
)


def mentions(question: str) -> list[tuple[str, ...]]:
    """Of each device that a question names so, the ids that it may have, the likeliest first."""
    return list(dict.fromkeys(ids for found in NUMBERED.finditer(question) for ids in _ids(found)))


def spelt_out(question: str, devices: Collection[str]) -> str:
    """The question with the ids of devices in place of their kind and number."""

    def spelt(found: re.Match[str]) -> str:
        meant = [next((each for each in ids if each in devices), None) for ids in _ids(found)]
        return " and ".join(filter(None, meant)) if all(meant) else found[0]

    return NUMBERED.sub(spelt, question)


def _ids(found: re.Match[str]) -> list[tuple[str, ...]]:
    kind = found["kind"].lower()
    return [_forms(kind, number) for number in re.findall(r"\d+", found["numbers"])]


def _forms(kind: str, number: str) -> tuple[str, ...]:
    """Fleets count with zeros or without, and call any kind of device a machine."""
    plain = str(int(number))
    numbers = dict.fromkeys([number, plain, plain.zfill(2), plain.zfill(3)])
    return tuple(dict.fromkeys([*(f"{kind}-{each}" for each in numbers), f"machine-{plain.zfill(3)}"]))
