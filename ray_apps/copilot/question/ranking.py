"""Whether a question asks for the healthiest: `best HX-450`, `which are ok`, `do not need attention`."""

from __future__ import annotations

import re

_BEST = r"best|healthiest|(?:most|more) healthy|highest (?:health|scor(?:es?|ing))|lowest risk|top"
_WELL = r"ok|okay|fine|good|well|healthy|normal(?:ly)?|trouble-free|high (?:health|scores?)|unlikely|ignore"
_UNWELL = (
    r"worst|bad|badly|unhealthy|sick|critical|serious|urgent|attention|service|worr(?:y|ied|ying)|concerns?|"
    r"problematic|fail(?:ing|ed)?|broken|trouble|risk|likely"
)
_SAYS_HOW = re.compile(rf"\b(?:(?P<best>{_BEST})|(?P<well>{_WELL})|{_UNWELL})\b", re.I)
_DENIED = re.compile(r"(?:\b(?:not|no|never|without|nothing|least|less|out of)|n['’]t)(?: \S+){0,2}? $", re.I)
_ASKS_WHICH = re.compile(
    r"\b(?:which|what|who|list|show|find|name|give|any|how many)\b|^\W*(?:\S+ )?(?:good|healthy|fine)\b", re.I
)


def of_the_healthiest(question: str) -> bool:
    """Whether a question about the health of devices asks for the best of them: what it says first of them is
    that they are best or, of those that it asks for, that they are well, or not unwell."""
    said = _SAYS_HOW.search(question)
    if not said:
        return False
    denied = bool(_DENIED.search(question, max(0, said.start() - 40), said.start()))
    if said["best"]:
        return not denied
    return bool(_ASKS_WHICH.search(question)) and bool(said["well"]) is not denied
