"""The text of a file as Markdown, whatever its format; what cannot be read is refused with the reason."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from xml.etree import ElementTree

from pipelines.knowledge.extracted import DocumentRefused, Extracted

EXTRACTOR = "markdown-1"
"""Name and version of what this module makes of a file; a change of its output changes it."""
MAXIMUM_UNPACKED = 256 * 2**20
_CORE = "docProps/core.xml"
_TERMS = {"dc": "http://purl.org/dc/elements/1.1/", "dcterms": "http://purl.org/dc/terms/"}
_CHARSET = re.compile(rb"<meta[^>]{1,200}?charset=[\"']?([\w-]{2,40})", re.IGNORECASE)


def plain(content: bytes) -> Extracted:
    """UTF-8 text, as it is."""
    if b"\0" in content:
        raise DocumentRefused("binary (holds a NUL byte)")
    try:
        return Extracted(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentRefused(f"not UTF-8 at byte {error.start}") from None


def html(content: bytes) -> Extracted:
    """A web page without its navigation, scripts and images; UTF-8 unless it names another encoding."""
    named = _CHARSET.search(content[:4096])
    try:
        source = content.decode(named[1].decode("ascii") if named else "utf-8-sig")
    except (UnicodeDecodeError, LookupError) as error:
        raise DocumentRefused(f"its encoding is not what it says: {error}") from None
    return _markdown(source)


def docx(content: bytes) -> Extracted:
    """A Word document with its headings, lists and tables; its pictures are left out."""
    import mammoth

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAXIMUM_UNPACKED:
            raise DocumentRefused(f"unpacks to {unpacked:,} bytes, the limit is {MAXIMUM_UNPACKED:,}")
        title, language, updated = _core_properties(archive)
    page = mammoth.convert_to_html(io.BytesIO(content), convert_image=lambda image: []).value
    return Extracted(_markdown(page).text, title, language, updated)


def table(content: bytes) -> Extracted:
    """A CSV table with a header: a section for each row, headed by its first two columns."""
    text = plain(content).text.removeprefix("\ufeff")
    dialect: type[csv.Dialect]
    try:
        dialect = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text), dialect, strict=True) if any(row)]
    except (csv.Error, ValueError) as error:
        raise DocumentRefused(f"not a CSV table with a header ({error})") from None
    if len(header) < 2 or not rows:
        raise DocumentRefused("not a CSV table: it needs a header of at least two columns, and rows")
    names = [name.strip() for name in header]
    return Extracted("\n\n".join(_section(names, row, number) for number, row in enumerate(rows, 2)))


def _section(names: list[str], row: list[str], line: int) -> str:
    if len(row) > len(names):
        raise DocumentRefused(f"row {line} has {len(row)} values for {len(names)} columns")
    values = [" ".join(value.split()) for value in row]
    heading = ": ".join(value for value in values[:2] if value)
    facts = [f"- {name}: {value}" for name, value in zip(names, values, strict=False) if value]
    return "\n".join([f"## {heading}", "", *facts])


def _markdown(page: str) -> Extracted:
    from html_to_markdown import ConversionOptions, convert

    options = ConversionOptions(
        skip_images=True, compact_tables=True, bullets="-", extract_metadata=True, autolinks=False
    )
    found = convert(page, options)
    about = found.metadata.document
    text = (found.content or "").strip()
    if text.startswith("---\n"):  # its metadata as front matter, which is not the author's
        text = text.partition("\n---\n")[2].strip()
    return Extracted(text, about.title or "", about.language or "")


def _core_properties(archive: zipfile.ZipFile) -> tuple[str, str, datetime | None]:
    """Title, language and time of the last change, as far as the document has them."""
    if _CORE not in archive.namelist():
        return "", "", None
    root = ElementTree.fromstring(archive.read(_CORE))
    title, language, changed = (
        (root.findtext(name, "", _TERMS) or "").strip()
        for name in ("dc:title", "dc:language", "dcterms:modified")
    )
    try:
        updated = datetime.fromisoformat(changed).astimezone(UTC) if changed else None
    except ValueError:
        updated = None
    return title, language, updated


def _pdf(content: bytes) -> Extracted:
    from pipelines.knowledge.pdf import pdf

    return pdf(content)


EXTRACTORS: dict[str, Callable[[bytes], Extracted]] = {
    ".md": plain,
    ".markdown": plain,
    ".txt": plain,
    ".csv": table,
    ".html": html,
    ".htm": html,
    ".docx": docx,
    ".pdf": _pdf,
}
MAXIMUM_BYTES = dict.fromkeys(EXTRACTORS, 8 * 2**20) | {".docx": 64 * 2**20, ".pdf": 64 * 2**20}
"""Of a file, by its suffix."""
APART = frozenset({".html", ".htm", ".docx", ".pdf"})
"""Parsed in a process of their own, which may be killed: a hostile file can keep a parser busy for ever."""
