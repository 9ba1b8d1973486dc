"""What is said where nothing answers a question: that it is not known, and what to check next."""

from __future__ import annotations

from collections.abc import Sequence

from indexes.codes import code_key, codes_in
from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.evidence.passages import Passage
from ray_apps.copilot.question.follow_up import Asked

UNKNOWN = "I don't know: the documents and the device records that I may see do not answer this."
NEAREST = "the nearest sources, which are listed with this answer"
MISSING = "whether a manual or a runbook is missing here: `iotops docs add` makes one searchable"
WHICH = "the device id: name the device and its records are read as well"


def _codes(passages: Sequence[Passage]) -> set[str]:
    return codes_in(" ".join(f"{each.title} {each.section} {each.text}" for each in passages))


def unknown(asked: Asked, found: Evidence) -> str:
    """The answer to a question that nothing answers."""
    # A record that says that there is no such code does not know it.
    told = _codes(found.passages[: found.lead]) - set(map(code_key, found.unreported))
    told |= _codes(found.passages[found.lead :])
    checks = [
        f"the spelling of {code}: no device is called so, no record or document names it"
        for code in dict.fromkeys(asked.codes)
        if asked.plan.known and code_key(code) not in told
    ]
    checks += [NEAREST] if found.sources else []
    checks += [MISSING]
    checks += [] if any("device_id" in tool.arguments for tool in found.tools) else [WHICH]
    return "\n".join([UNKNOWN, "Check next:", *(f"- {check}" for check in checks)])
