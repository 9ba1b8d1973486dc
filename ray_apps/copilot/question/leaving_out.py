"""What a question leaves out of what it asks for: `other than the HX-200`, `had E421 but not E425`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ray_apps.copilot.question.naming import KINDS, NUMBERED, mentions

_WORD = r"(?=[\w.:-]*\d)(?=[\w.:-]*[A-Za-z])[A-Za-z0-9](?:[\w.:-]*\w)?"
_UNNAMED_GROUPS = re.sub(r"\?P<\w+>", "?:", NUMBERED.pattern)
_NAME = rf"(?:(?:an?|any|the|my|our)\s+)*(?:{_UNNAMED_GROUPS}|{_WORD})(?:\s+(?:{KINDS})s?\b)?"
_NAMES = rf"(?P<names>{_NAME}(?:(?:\s*,\s*|\s+)(?:(?:and|or|nor)\s+)?{_NAME})*)"
LACKING = re.compile(
    r"(?:,?\s?\b(?:but|and|yet)\s+(?:(?:do(?:es)?|did|ha(?:s|ve|d))\s*(?:not|n['’]t)|not|never|no|without)"
    rf"(?:\s+(?:had|have|report(?:ed|ing)?|show(?:n|ed)?|raised?))*|(?<=\d),?\s+not)\s+{_NAMES}",
    re.I,
)
"""`Had E421 but not E425`: those that had the second are left out."""
_ANY = r"(?:all|every|any)(?:\s+[a-z]+)?|everything|anything"
_ERRORS = r"(?:errors?|faults?|failures?|problems?|issues?|codes?)"
OTHERS = re.compile(
    rf",?\s?\b(?:(?P<all>{_ANY}|{_ERRORS})\s+but(?:\s+for)?|(?P<errors>{_ERRORS})\s+without|"
    r"except(?:ing)?(?:\s+for)?|(?:other|rather)\s+than|(?:apart|aside)\s+from|besides|excluding|"
    r"ignor(?:e|ing)|leav(?:e|ing)\s+out|skip(?:ping)?|not\s+(?:counting|including)|\Awithout|"
    rf"without(?=\s+(?:{KINDS})s?\b)|(?:(?:that|which|who)\s+)?(?:are\s+not|aren['’]t)|not)"
    rf"(?:\s+(?:on|of|from|for))?\s+{_NAMES}",
    re.I,
)
"""`Errors other than E421`, `anything but E421`: that code itself is left out."""
_WITH = re.compile(r"(?<!\S)w/(?P<out>o\b)?\s*", re.I)
_MEANT = {"all": "all machines", "everything": "all machines", "anything": "any error"}
"""What is left of `all but machine 6`."""


@dataclass(frozen=True)
class LeftOut:
    """Devices, models and codes that a question leaves out, as they are spelt, or may be."""

    others: tuple[str, ...] = ()
    """Devices, those of models, and codes that are not counted."""
    lacking: tuple[str, ...] = ()
    """Devices, those of models, and those that reported a code."""

    def __bool__(self) -> bool:
        return bool(self.others or self.lacking)


def split(question: str) -> tuple[str, LeftOut]:
    """A question without the words that leave something out, and what they leave out."""
    spelt = " ".join(question.split())
    question = _WITH.sub(lambda found: "without " if found["out"] else "with ", spelt)
    rest, lacking = _cut(question, LACKING)
    rest, others = _cut(rest, OTHERS)
    return rest, LeftOut(others, lacking)


def _cut(question: str, pattern: re.Pattern[str]) -> tuple[str, tuple[str, ...]]:
    names = " ".join(found["names"] for found in pattern.finditer(question))
    numbered = (each for ids in mentions(names) for each in ids)
    spelt = re.findall(_WORD, NUMBERED.sub(" ", names))
    rest = " ".join(pattern.sub(_kept, question).split()) if names else question
    return rest, tuple(dict.fromkeys([*numbered, *spelt]))


def _kept(found: re.Match[str]) -> str:
    """What is asked for, of `all errors but E421`."""
    said = found.groupdict()
    kept = said.get("all") or said.get("errors") or ""
    return f" {_MEANT.get(kept.lower(), kept)} "
