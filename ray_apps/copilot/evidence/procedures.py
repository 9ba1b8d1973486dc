"""Passages that tell what to do, in numbered steps."""

from __future__ import annotations

import re

from ray_apps.copilot.evidence.passages import Passage
from ray_apps.copilot.language.text import items

ACTION_SECTION = re.compile(r"\b(actions?|steps?|procedure|what to do)\b", re.I)
CAUSES = re.compile(r"\b(?:caus(?:es?|ed)|because|due to|reasons?)\b", re.I)
FIRST_ITEM = re.compile(r"\s*1[.)]\s")


def tells_actions(passage: Passage) -> bool:
    """Whether a passage is a numbered procedure under a heading of actions."""
    return bool(ACTION_SECTION.search(passage.section) and procedure(passage))


def procedure(passage: Passage) -> list[tuple[int, int]]:
    """Spans of a passage's numbered items; none where they are causes, or some stand in another passage."""
    found = [] if CAUSES.search(passage.section) else items(passage.text)
    return found if found and FIRST_ITEM.match(passage.text, found[0][0]) else []
