"""What an author says of a document: YAML at its beginning, or in a file beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from pipelines.knowledge.extracted import DocumentRefused, storable

BESIDE = ".meta.yaml"
"""Suffix of the file that describes the document beside it: `pump.pdf.meta.yaml` describes `pump.pdf`."""
MAXIMUM_BYTES = 16 * 2**10
_NOT_SAID = frozenset({"", "~", "null", "Null", "NULL"})
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n|(?<=\n))---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Metadata:
    """As it is stored with each chunk; empty where the author says nothing."""

    title: str = ""
    doc_type: str = ""
    models: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    error_codes: tuple[str, ...] = ()
    version: str = ""
    updated: datetime | None = None
    language: str = ""


def front_matter(source: str) -> tuple[Mapping[str, Any], int]:
    """The YAML mapping that a text begins with, and where its body does; raises `DocumentRefused`."""
    body_start = 1 if source.startswith("\ufeff") else 0
    found = _FRONT_MATTER.match(source)
    if found is None:
        return {}, body_start
    loaded = mapping(found[1])
    # Prose between two thematic breaks is no mapping: it is the beginning of the body.
    return ({}, body_start) if loaded is None else (loaded, found.end())


def beside(described: bytes) -> Mapping[str, Any]:
    """The YAML mapping of a file that describes the document beside it; raises `DocumentRefused`."""
    try:
        found = mapping(described.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentRefused(f"its {BESIDE} is not UTF-8 at byte {error.start}") from None
    if found is None:
        raise DocumentRefused(f"its {BESIDE} is not a mapping of names to values")
    return found


def mapping(block: str) -> dict[str, Any] | None:
    """YAML's mapping; None where it is something else; raises `DocumentRefused` where it is no YAML.

    Scalars are strings, spelt as the author spelt them: 2.10 is a version, 0042 a code, and NO a model.
    """
    if len(block) > MAXIMUM_BYTES:
        raise DocumentRefused(f"metadata over {MAXIMUM_BYTES} characters")
    try:
        loaded = yaml.load(block, yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DocumentRefused(f"metadata is not YAML ({reason})") from None
    if loaded is None:
        return {}
    return loaded if isinstance(loaded, dict) else None


def metadata(fields: Mapping[str, Any]) -> Metadata:
    """Read the fields; those of other names are the author's own business."""
    return Metadata(
        title=_text(fields.get("title")),
        doc_type=_text(fields.get("doc_type")),
        models=_texts(fields.get("models")),
        firmware=_texts(fields.get("firmware")),
        error_codes=_texts(fields.get("error_codes")),
        version=_text(fields.get("version")),
        updated=_moment(fields.get("updated")),
        language=_text(fields.get("language")),
    )


def _text(value: Any) -> str:
    """Only what is a scalar: aliases may unfold a list of a few lines to a text of gigabytes."""
    text = value.strip() if isinstance(value, str) else ""
    return "" if text in _NOT_SAID else storable(text)


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else _text(value).split(",")
    return tuple(dict.fromkeys(text for item in values if (text := _text(item))))


def _moment(value: Any) -> datetime | None:
    text = _text(value)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise DocumentRefused(f"updated {text[:80]!r} is not an ISO date, e.g. 2026-05-31") from None
