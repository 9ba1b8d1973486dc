"""A document of a shelf, read strictly enough that a bad file is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pipelines.knowledge.extracted import MAXIMUM_TEXT, Codes, DocumentRefused, Extracted, naming, storable
from pipelines.knowledge.extraction import EXTRACTORS, MAXIMUM_BYTES
from pipelines.knowledge.metadata import Metadata, beside, front_matter, metadata
from pipelines.knowledge.sections import first_heading

UNKNOWN_LANGUAGE = "und"
_MAXIMUM_PATH, _MAXIMUM_TITLE = 300, 300
_WITH_FRONT_MATTER = (".md", ".markdown", ".txt")


@dataclass(frozen=True)
class Document:
    """A document as it is indexed; `source` is its text in Markdown, the body begins at `body_start`."""

    doc_id: str
    uri: str
    source: str
    body_start: int
    about: Metadata
    codes: Codes = ()

    @property
    def path(self) -> str:
        """Its path on the shelf."""
        return self.uri.partition("/documents/")[2]


def document_id(relative: str) -> str:
    """The id of a document: its path on the shelf without `.md`, so that a new edition keeps the id.

    Where that would be the name of another document, as `codes.csv` of `codes.csv.md`, the whole path.
    """
    shorter = relative.removesuffix(".md")
    return relative if is_document(shorter) else shorter


def document_uri(owner: str, relative: str) -> str:
    """Where a document lies in the lake."""
    return f"lake://{owner}/documents/{relative}"


def is_document(relative: str) -> bool:
    """Whether a file's name is that of a document, rather than of one that describes it or of anything."""
    return PurePosixPath(relative).suffix.lower() in EXTRACTORS


def checked_path(relative: str) -> str:
    """A path on the shelf, or `DocumentRefused` where it leads out of it, is too long or no document."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or str(path) != relative or relative in ("", "."):
        raise DocumentRefused(f"{relative!r}: not a plain relative path")
    if len(relative) > _MAXIMUM_PATH or not relative.isprintable() or "\\" in relative:
        raise DocumentRefused(f"{relative[:80]!r}: a path has at most {_MAXIMUM_PATH} printable characters")
    if not is_document(relative):
        known = ", ".join(sorted(EXTRACTORS))
        raise DocumentRefused(f"{relative}: {path.suffix or 'no suffix'} is not one of {known}")
    return relative


def check_size(relative: str, size: int) -> None:
    """Raises `DocumentRefused` where a file is larger than its format may be."""
    limit = MAXIMUM_BYTES.get(PurePosixPath(relative).suffix.lower(), 0)
    if size > limit and is_document(relative):
        raise DocumentRefused(f"{relative}: {size:,} bytes, the limit is {limit:,}")


def extract(relative: str, content: bytes) -> Extracted:
    """The text of a file by its suffix; raises `DocumentRefused` with the reason."""
    check_size(checked_path(relative), len(content))
    with naming(relative):
        found = EXTRACTORS[PurePosixPath(relative).suffix.lower()](content)
        if not found.text.strip("\ufeff \t\r\n"):
            raise DocumentRefused("empty")
        if len(found.text) > MAXIMUM_TEXT:
            raise DocumentRefused(f"{len(found.text):,} characters, the limit is {MAXIMUM_TEXT:,}")
    return found


def read_document(owner: str, relative: str, content: bytes, described: bytes = b"") -> Document:
    """A file as a document; raises `DocumentRefused` with the reason. See `extract` and `document`."""
    return document(owner, relative, extract(relative, content), described)


def document(owner: str, relative: str, extracted: Extracted, described: bytes = b"") -> Document:
    """A document of a file's text and the YAML beside it; raises `DocumentRefused` with the reason.

    What the YAML says, or in a text its front matter, goes before what the file says of itself. The title
    falls back to the first heading, where that may be one, then to the file's name; the rest to nothing
    (`doc_type` to "document").
    """
    with naming(relative):
        source = storable(extracted.text)
        written = relative.lower().endswith(_WITH_FRONT_MATTER)
        said, body_start = front_matter(source) if written else ({}, 0)
        found = metadata({**said, **beside(described)})
        heading = first_heading(source, body_start) if extracted.titled else ""
    titles = (found.title, storable(extracted.title), heading, PurePosixPath(relative).stem)
    about = replace(
        found,
        title=" ".join(next(filter(None, titles)).split())[:_MAXIMUM_TITLE],
        doc_type=found.doc_type or "document",
        updated=found.updated or extracted.updated,
        language=found.language or storable(extracted.language) or UNKNOWN_LANGUAGE,
    )
    codes = tuple((start, tuple(map(storable, said))) for start, said in extracted.codes)
    return Document(document_id(relative), document_uri(owner, relative), source, body_start, about, codes)
