"""How much personal data of a labelled set is found: JSON lists of {"full_text", "spans"}, as Presidio's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ray_apps.copilot.guard.personal import PERSONAL_KINDS, PersonalKind, personal_data

KIND_OF: dict[str, PersonalKind] = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
    "IP_ADDRESS": "ip_address",
}


def measured(folder: Path) -> dict[str, Any]:
    """By file and kind: spans that the set has, those that are touched, and findings that touch none."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*.json")):
        texts = json.loads(file.read_text("utf-8"))
        if isinstance(texts, list) and texts and isinstance(texts[0], dict) and "full_text" in texts[0]:
            found[f"{file.parent.name} {file.stem}"] = _counted(texts)
    return found


def _counted(texts: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    spans, hits, false = Counter[str](), Counter[str](), Counter[str]()
    for each in texts:
        wanted = [
            (span["start_position"], span["end_position"], KIND_OF[span["entity_type"]])
            for span in each["spans"]
            if span["entity_type"] in KIND_OF
        ]
        told = list(personal_data(each["full_text"], PERSONAL_KINDS))
        spans.update(kind for _, _, kind in wanted)
        hits.update(kind for start, end, kind in wanted if _touched(start, end, kind, told))
        false.update(kind for start, end, kind in told if not _touched(start, end, kind, wanted))
    return {
        kind: {"spans": spans[kind], "found": hits[kind], "false": false[kind]}
        for kind in PERSONAL_KINDS
        if spans[kind] or false[kind]
    }


def _touched(start: int, end: int, kind: str, others: list[tuple[int, int, PersonalKind]]) -> bool:
    return any(kind == other and start < last and first < end for first, last, other in others)
