"""Likely causes: what error codes, the symptom's words and the failed checks point to, ranked by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from indexes.codes import codes_in
from ray_apps.copilot.actions import ActionRule, suggest

NAMED, SEEN, SYMPTOM, COMPONENT = 0.6, 0.5, 0.5, 0.5
"""How far each kind of evidence alone leads, 0 to 1."""
MOST = 4


@dataclass
class Candidate:
    """A cause with what speaks for it: a document that tells what to do, or a rule that fired."""

    name: str
    uri: str
    advice: str = ""
    """What to do, where a rule says so and no document."""
    doubt: float = 1.0
    because: list[str] = field(default_factory=list)

    @property
    def score(self) -> float:
        """0 to 1: independent pieces of evidence, each of which leaves a doubt (a noisy or)."""
        return round(1 - self.doubt, 3)

    def add(self, weight: float, reason: str) -> None:
        """Count a piece of evidence of 0 to 1."""
        self.doubt *= 1 - weight
        self.because.append(reason)


def documents_of_code(hits: Iterable[Mapping[str, Any]], code: str) -> list[Mapping[str, Any]]:
    """Hits whose document is about a code: the code stands in its title."""
    return [hit for hit in hits if code in codes_in(hit["title"])]


def ranked(
    by_code: Mapping[str, list[Mapping[str, Any]]],
    by_symptom: Sequence[Mapping[str, Any]],
    named: str | None,
    seen: Counter[str],
    rules: list[ActionRule],
    insights: dict[str, Any],
) -> list[Candidate]:
    """The likeliest causes, best first.

    `by_code` are the hits of documents about each code, `by_symptom` those of the symptom's search, `named`
    is the code that was asked about, `seen` how often the device reported each (`indexes.codes.code_key`s).
    """
    found: dict[str, Candidate] = {}

    def of(hit: Mapping[str, Any]) -> Candidate:
        return found.setdefault(hit["uri"], Candidate(hit["title"], hit["uri"]))

    for code, hits in by_code.items():
        for hit in {hit["uri"]: hit for hit in hits}.values():
            if code == named:
                of(hit).add(NAMED, f"{hit['title']} is about the code that was named")
            if seen[code]:
                share = seen[code] / seen.total()
                of(hit).add(SEEN * share, f"the device reported its code {seen[code]} times")
    best: dict[str, Mapping[str, Any]] = {}
    for hit in by_symptom:
        best.setdefault(hit["uri"], hit)
    for hit in best.values():
        of(hit).add(SYMPTOM * min(max(hit["score"], 0.0), 1.0), "its text fits the symptom")
    penalties = {part["component"]: part["penalty"] for part in insights["components"]}
    components = {rule.name: rule.component for rule in rules}
    for action in suggest(rules, insights["components"]):
        reason = f"{action.because[:1].upper()}{action.because[1:]}"
        cause = Candidate(reason, f"/insights/{insights['device_id']}", action.action)
        cause.add(COMPONENT * min(penalties[components[action.rule]] / 50, 1.0), f"rule {action.rule} fired")
        found.setdefault(action.rule, cause)
    names = Counter(cause.name for cause in found.values())
    for cause in found.values():
        if names[cause.name] > 1:  # which one a step belongs to, and is ruled out, is told by the name
            cause.name += f" ({cause.uri.removeprefix('lake://')})"
    return sorted(found.values(), key=lambda cause: (-cause.score, cause.name))[:MOST]
