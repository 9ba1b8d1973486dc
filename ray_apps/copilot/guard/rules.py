"""What decides alone, where no embedding is at hand too: wordings that nothing but an attack has.

They must not be what operators and runbooks say of alarms, bypasses and simulated loads.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ray_apps.copilot.guard.phrases import BEFORE, PATTERNS, STRICT

_LINKING = (
    "(?:of|that|the|this|these|those|you|was|were|has|have|had|been|is|are|stands?|came|comes|written|stated)"
)
_OWN = "(?:own|full|complete|entire|exact|initial|original|first|current|hidden|secret|internal|system)"
_FREED = re.compile(
    r"\b(?:do anything now|jail ?b\w+|unfiltered|uncensored|unrestricted|unethical|amoral|immoral|"
    r"no (?:moral\w*|ethic\w*|rules?|restrictions?|filters?)|ethical guidelines|not bound|broken free|"
    r"without (?:any )?(?:moral\w*|ethic\w*|restrictions?|rules?|censor\w*)|"
    r"(?:developer|god|dan|evil|chaos) mode|freed? (?:from|of) (?:all |any |your |its |the )?(?:moral\w*|"
    r"ethic\w*|rules?|restrictions?|limit\w*|filters?))\b"
)
_PLAYED = re.compile(
    r"\b(?:you are (?:now|going to)|you're now|from now on|pretend|role-?play\w*|imagine (?:that )?you|"
    r"you will (?:be|act|play|now)|i want you to|respond as|speak as|answer as|in character|break character|"
    r"persona|play the role|take on the|act(?:ing)? (?:as|like) (?:if |though )?(?:you|an? (?:\w+ )?"
    r"(?:ai|model|assistant|chat ?bot|hacker|person|character))|"
    r"simulate (?:an? )?(?:\w+ )?(?:ai|model|assistant|chat ?bot|persona))\b"
)
_DECISIVE: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "instruction_override",
        re.compile(
            r"\b(?:ignore|disregard|forget|override|discard|do not follow|don't follow|stop following)\b"
            rf".{{0,25}}?\b{BEFORE}\b.{{0,20}}?\b{STRICT}\b|"
            rf"\b(?:ignore|disregard|forget) (?:everything|all|what)(?: {_LINKING})* "
            r"(?:above(?! \d)|before|previously|learned|told|said)\b",
            re.S,
        ),
    ),
    ("instruction_override", PATTERNS["override_foreign"]),
    ("instruction_override", PATTERNS["override_your"]),
    (
        "prompt_disclosure",
        re.compile(
            r"\b(?:reveal|print|show|repeat|output|display|tell me|leak|disclose|what (?:is|are))\b.{0,20}"
            rf"\byour(?: {_OWN})* (?:prompt|instructions|system message|guidelines|rules)\b|"
            r"\b(?:print|repeat|output|recite)\b.{0,10}\b(?:everything|all (?:the )?text|the conversation)\b"
            r".{0,20}\b(?:above(?! \d)|so far|before (?:this|that)|before(?=\W*$))",
            re.S,
        ),
    ),
)
_DECISIVE_PAIRS = (
    ("prompt_disclosure", PATTERNS["reveal"], PATTERNS["assistant"]),
    ("role_play", _FREED, _PLAYED),
    ("role_play", _FREED, PATTERNS["assistant"]),
    ("role_play", PATTERNS["no_refusal"], _PLAYED),
    ("forged_turn", PATTERNS["delimiter"], PATTERNS["secret"]),
    ("exfiltration", PATTERNS["exfiltrate"], PATTERNS["keep_from_reader"]),
)
_REASONS = {
    "role_play": ("persona", "unbound", "dan", "no_refusal", "harm"),
    "instruction_override": ("override", "new_rules"),
    "prompt_disclosure": ("reveal", "exfiltrate"),
    "forged_turn": ("delimiter",),
    "planted_code": ("plant_code",),
    "answer_manipulation": ("shape_answer", "answer", "encoding"),
}
OTHER_REASON = "foreign_instruction"


@lru_cache(maxsize=20_000)
def decisive(window: str) -> str | None:
    """The reason for which the wording alone condemns a window, or None."""
    window = window.lower()
    for reason, pattern in _DECISIVE:
        if pattern.search(window):
            return reason
    for reason, one, other in _DECISIVE_PAIRS:
        if one.search(window) and other.search(window):
            return reason
    return None


def reason_of(window: str) -> str:
    """The category that the wording of a flagged window comes closest to."""
    if reason := decisive(window):
        return reason
    window = window.lower()
    for reason, names in _REASONS.items():
        if any(PATTERNS[name].search(window) for name in names):
            return reason
    return OTHER_REASON
