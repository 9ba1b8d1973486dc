"""Whether a question asks for alerts that are over: `were resolved today`, `closed`, `not open`."""

from __future__ import annotations

import re

_OVER = (
    r"resolved|closed|cleared|ended|gone|finished|done|inactive|no longer (?:open|active)"
    r"|(?:no|without) open ones?|(?:we|they|you) (?:close|resolve|clear)"
    r"|(?:past|old|previous|earlier|former) (?:alert|alarm)s?"
)
_SAYS = re.compile(rf"\b(?:(?P<over>{_OVER})|open|active|unresolved|ongoing)\b", re.I)
_DENIED = re.compile(r"(?:\b(?:not|never)|n['’]t)(?: (?:yet|been|be|get|got|still|currently))* $", re.I)


def of_resolved(question: str) -> bool:
    """Whether what a question says first of alerts is that they are over, or not open."""
    said = _SAYS.search(question)
    if not said:
        return False
    return bool(said["over"]) is not bool(_DENIED.search(question, max(0, said.start() - 40), said.start()))
