"""Which articles explain an error code, and how sure that is: pure functions over what a search found.

The confidence (0-1) says by what the article was found, and within that how close it is in meaning:

| how | confidence |
|---|---|
| the title names the code | 0.9 to 1 |
| the heading of the section names it | 0.8 to 0.9 |
| the text names it | 0.6 to 0.8 |
| the document declares it in its front matter | 0.5 to 0.6 |
| the code stands nowhere: hybrid search by its message | up to 0.5 |

Within a band of exact matches the cosine of message and chunk decides. A hybrid match has half the
probability that the best article is the right one: a logistic curve of the cosine, fitted with
all-MiniLM-L6-v2 on the demo's shelf to 60 messages that name no code, 30 of faults that one runbook explains
and 30 of none. At 0.25 the article is as likely right as wrong; below that it is no explanation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from indexes.codes import code_key, codes_in, keys
from indexes.hits import Hit

TITLE, HEADING, TEXT, DECLARED = (0.9, 1.0), (0.8, 0.9), (0.6, 0.8), (0.5, 0.6)
HYBRID_MOST, HYBRID_LEAST = 0.5, 0.25
COSINE_MIDDLE, COSINE_SLOPE = 0.374, 22.7
ARTICLES = 3


@dataclass(frozen=True)
class SeenCode:
    """An error code as the fleet reports it: its commonest message, the models of its devices, how often."""

    error_code: str
    message: str
    models: list[str]
    devices: int
    events: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True)
class Explanation:
    """A section of a document that explains a code."""

    hit: Hit
    method: str
    confidence: float


def query(code: SeenCode) -> str:
    """What is searched for.

    Not the devices' models, which `explanations` looks at: a model's name finds the pages of its manual
    whatever the code is.
    """
    return f"{code.error_code} {code.message}".strip()


def explanations(code: SeenCode, hits: Sequence[Hit], limit: int = ARTICLES) -> list[Explanation]:
    """The best section of each of at most `limit` documents, by falling confidence.

    Hybrid matches count only where there is no exact one and the code has a message; a document for other
    models than the code's explains nothing.
    """
    found = [
        Explanation(hit, *confidence(code.error_code, hit)) for hit in hits if _concerns(hit, code.models)
    ]
    exact = [each for each in found if each.method == "exact"]
    kept = exact or [each for each in found if code.message and each.confidence >= HYBRID_LEAST]
    best: dict[str, Explanation] = {}
    for each in sorted(kept, key=lambda each: (-each.confidence, each.hit.uri, each.hit.start)):
        best.setdefault(each.hit.doc_id, each)
    return list(best.values())[:limit]


def confidence(code: str, hit: Hit) -> tuple[str, float]:
    """How a hit was found, `exact` or `hybrid`, and its confidence."""
    cosine = min(max(hit.scores.vector or 0.0, 0.0), 1.0)
    for band, named in (
        (TITLE, _names(hit.title, code)),
        (HEADING, _names(hit.section, code)),
        (TEXT, code_key(code) in codes_in(hit.text)),
        (DECLARED, _declares(hit.error_codes, code)),
    ):
        if named:
            return "exact", round(band[0] + (band[1] - band[0]) * cosine, 4)
    probability = 1 / (1 + math.exp(-COSINE_SLOPE * (cosine - COSINE_MIDDLE)))
    return "hybrid", round(HYBRID_MOST * probability, 4)


def _names(heading: str, code: str) -> bool:
    """Whether a heading names the code, which may be a plain word or number that is no code in a text."""
    return code_key(code) in codes_in(heading) or (
        re.search(rf"(?<![\w.-]){re.escape(code)}(?![\w-]|\.\w)", heading) is not None
    )


def _declares(declared: Sequence[str], code: str) -> bool:
    return code_key(code) in keys(declared)


def _concerns(hit: Hit, models: Sequence[str]) -> bool:
    return not hit.models or not models or bool(keys(hit.models) & keys(models))
