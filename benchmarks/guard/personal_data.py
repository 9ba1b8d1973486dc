"""`python -m benchmarks.guard.personal_data DIR...`: how much personal data is found, and how much is none.

Labelled sets are JSON lists of {"full_text", "spans"}, as Presidio's. In the operations questions nothing is
personal; what Markdown has is printed, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.guard.sets import operations_questions
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


def told(texts: Sequence[str]) -> tuple[dict[str, Counter[str]], float]:
    """What is found, by kind, and the mean time of a text (ms)."""
    found: dict[str, Counter[str]] = {kind: Counter() for kind in PERSONAL_KINDS}
    started = time.perf_counter()
    for text in texts:
        for start, end, kind in personal_data(text, PERSONAL_KINDS):
            found[kind][text[start:end]] += 1
    return found, (time.perf_counter() - started) * 1000 / len(texts)


def main() -> None:
    """Print the figures of each labelled set, of the operations questions and of each folder's Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard.personal_data")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="labelled sets, Markdown")
    folders: list[Path] = parser.parse_args().folders
    told(["ann@example.com"])  # Imports Presidio, which the times of the texts are not to have.
    for folder in folders:
        for name, by_kind in measured(folder).items():
            for kind, counts in by_kind.items():
                print(f"{name}, {kind}: {counts['found']} of {counts['spans']}, {counts['false']} false")
    unlabelled = {"operations questions": [each.text for each in operations_questions().examples]}
    for folder in folders:
        files = sorted(folder.rglob("*.md"))
        unlabelled[str(folder)] = [file.read_text("utf-8", errors="replace") for file in files]
    for name, texts in unlabelled.items():
        if texts:
            found, spent = told(texts)
            print(f"{name}: {len(texts)} texts, {spent:.2f} ms each")
            for kind, those in found.items():
                for text, times in those.most_common():
                    print(f"  {kind} {text!r} {times}")


if __name__ == "__main__":
    main()
