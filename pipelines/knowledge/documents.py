"""A Markdown document with YAML front matter, read strictly enough that a bad file is refused by name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import Any

import yaml

from iotops.errors import IotOpsError
from pipelines.knowledge.sections import first_heading

MAXIMUM_BYTES = 4 * 2**20
SUFFIXES = frozenset({".md", ".markdown", ".txt"})
UNKNOWN_LANGUAGE = "und"
_MAXIMUM_FRONT_MATTER = 16 * 2**10
_MAXIMUM_PATH = 300
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n|(?<=\n))---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class DocumentRefused(IotOpsError):
    """A document that is not taken in, with the reason."""


@dataclass(frozen=True)
class Document:
    """A document as it is indexed; `source` is the whole decoded file, the body begins at `body_start`."""

    doc_id: str
    uri: str
    source: str
    body_start: int
    title: str
    doc_type: str
    models: tuple[str, ...]
    error_codes: tuple[str, ...]
    version: str
    updated: datetime | None
    language: str
    checksum: str


def document_id(relative: str) -> str:
    """The id of a document: its path on the shelf without `.md`, so that a new edition keeps the id."""
    return relative.removesuffix(".md")


def document_uri(owner: str, relative: str) -> str:
    """Where a document lies in the lake."""
    return f"lake://{owner}/documents/{relative}"


def checked_path(relative: str) -> str:
    """A path on the shelf, or `DocumentRefused` where it leads out of it, is too long or no document."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or str(path) != relative or relative in ("", "."):
        raise DocumentRefused(f"{relative!r}: not a plain relative path")
    if len(relative) > _MAXIMUM_PATH or not relative.isprintable() or "\\" in relative:
        raise DocumentRefused(f"{relative[:80]!r}: a path has at most {_MAXIMUM_PATH} printable characters")
    if path.suffix.lower() not in SUFFIXES:
        raise DocumentRefused(f"{relative}: {path.suffix or 'no suffix'} is not one of {sorted(SUFFIXES)}")
    return relative


def decode(relative: str, content: bytes, maximum_bytes: int = MAXIMUM_BYTES) -> str:
    """The text of a file; raises `DocumentRefused` where it is over-large, binary, not UTF-8 or empty."""
    if len(content) > maximum_bytes:
        raise DocumentRefused(f"{relative}: {len(content)} bytes, the limit is {maximum_bytes}")
    if b"\0" in content:
        raise DocumentRefused(f"{relative}: binary (holds a NUL byte)")
    try:
        source = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentRefused(f"{relative}: not UTF-8 at byte {error.start}") from None
    if not source.strip("\ufeff \t\r\n"):
        raise DocumentRefused(f"{relative}: empty")
    return source


def read_document(owner: str, relative: str, content: bytes, maximum_bytes: int = MAXIMUM_BYTES) -> Document:
    """Read one document; raises `DocumentRefused` with the reason.

    Front matter may give title, doc_type, models, error_codes, version, updated and language. The title falls
    back to the first heading, then to the file's name; the rest to nothing (`doc_type` to "document").
    """
    source = decode(checked_path(relative), content, maximum_bytes)
    found = _FRONT_MATTER.match(source)
    fields: dict[str, Any] = {}
    body_start = 1 if source.startswith("\ufeff") else 0
    if found is not None:
        loaded = _front_matter(relative, found[1])
        # Prose between two thematic breaks is no mapping: it is the beginning of the body.
        if loaded is not None:
            fields, body_start = loaded, found.end()
    title = _text(fields.get("title")) or first_heading(source, body_start) or PurePosixPath(relative).stem
    return Document(
        doc_id=document_id(relative),
        uri=document_uri(owner, relative),
        source=source,
        body_start=body_start,
        title=" ".join(title.split())[:300],
        doc_type=_text(fields.get("doc_type")) or "document",
        models=_texts(fields.get("models")),
        error_codes=_texts(fields.get("error_codes")),
        version=_text(fields.get("version")),
        updated=_moment(relative, fields.get("updated")),
        language=_text(fields.get("language")) or UNKNOWN_LANGUAGE,
        checksum=hashlib.sha256(content).hexdigest(),
    )


def _front_matter(relative: str, block: str) -> dict[str, Any] | None:
    if len(block) > _MAXIMUM_FRONT_MATTER:
        raise DocumentRefused(f"{relative}: front matter over {_MAXIMUM_FRONT_MATTER} characters")
    try:
        loaded = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DocumentRefused(f"{relative}: front matter is not YAML ({reason})") from None
    if loaded is None:
        return {}
    return {str(name): value for name, value in loaded.items()} if isinstance(loaded, dict) else None


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else str(value).split(",") if value is not None else []
    return tuple(dict.fromkeys(text for item in values if (text := _text(item))))


def _moment(relative: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, date) and not isinstance(value, datetime):
            moment = datetime(value.year, value.month, value.day)
        else:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise DocumentRefused(f"{relative}: updated {value!r} is not an ISO date, e.g. 2026-05-31") from None
