"""The text of a file as Markdown, whatever its format; what cannot be read is refused with the reason."""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from xml.etree import ElementTree

from pipelines.knowledge.extracted import MAXIMUM_TEXT, DocumentRefused, Extracted

EXTRACTOR = "markdown-4"
"""Name and version of what becomes of a file before it is cut, and of what in it counts as a code; a change
of either changes it."""
MAXIMUM_UNPACKED = 256 * 2**20
_READ_AS = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
"""Encodings that pages name and do not keep to, with those that hold them."""
_DELIMITERS = ";\t|,"
_CODES = frozenset({"code", "error", "error code", "fault", "fault code", "alarm", "alarm code"})
_CODE = re.compile(r"\S+|(?=\D*\d)\S+ \S+")
_BETWEEN_ROWS = "\n\n"
_SEPARATOR = re.compile(r"\"?sep=(.)\"?\r?\n", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\n(?=\S).*?\n---\n", re.DOTALL)
_CORE = "docProps/core.xml"
_TERMS = {"dc": "http://purl.org/dc/elements/1.1/", "dcterms": "http://purl.org/dc/terms/"}
_UPDATED = ("article-modified_time", "dcterms_modified", "last-modified", "date")
"""Meta tags of a web page, spelt as its parser spells them."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_CHARSET = re.compile(rb"<meta[^>]{1,200}?charset=[\"']?([\w-]{2,40})", re.IGNORECASE)


def plain(content: bytes) -> Extracted:
    """Text as it is: UTF-8, or UTF-16 with its byte order mark, as Windows writes it."""
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8"
    if encoding == "utf-8" and b"\0" in content:
        raise DocumentRefused("binary (holds a NUL byte)")
    try:
        return Extracted(content.decode(encoding))
    except UnicodeDecodeError as error:
        raise DocumentRefused(
            f"not {encoding.upper()} at byte {error.start}: save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from None


def html(content: bytes) -> Extracted:
    """A web page without its navigation, scripts and images; UTF-8 unless it names another encoding."""
    try:
        source = content.decode(_encoding(content))
    except (UnicodeError, LookupError) as error:
        raise DocumentRefused(f"its encoding is not what it says: {error}") from None
    return _markdown(source)


def _encoding(content: bytes) -> str:
    """Of a page: by its byte order mark, or else by its label as browsers take it (WHATWG, Encoding)."""
    if content.startswith(_UTF_16):
        return "utf-16"
    named = _CHARSET.search(_COMMENT.sub(b"", content[:4096]))
    if named is None or content.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    codec = codecs.lookup(named[1].decode("ascii")).name
    # A label that can be read as ASCII was not written in UTF-16, whatever it says.
    return "utf-8" if codec.startswith("utf-16") else _READ_AS.get(codec, codec)


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
    """A CSV table with a header: a section for each row, headed by its first two columns.

    The first column that is called a code (`_CODES`) has the error codes of its row.
    """
    header, *rows = _rows(plain(content).text.removeprefix("\ufeff"))
    names = _values(header)
    coded = next((at for at, name in enumerate(names) if name.casefold().replace("_", " ") in _CODES), None)
    sections: list[str] = []
    codes: list[tuple[int, tuple[str, ...]]] = []
    characters = 0
    for number, row in enumerate(rows, 2):
        if coded is not None:
            codes.append((characters, _codes(row[coded] if coded < len(row) else "")))
        sections.append(_section(names, row, number))
        characters += len(sections[-1]) + len(_BETWEEN_ROWS)
        if characters > MAXIMUM_TEXT:
            raise DocumentRefused(f"more than {MAXIMUM_TEXT:,} characters with its columns named in each row")
    return Extracted(_BETWEEN_ROWS.join(sections), titled=False, codes=tuple(codes))


def _rows(text: str) -> list[list[str]]:
    """The header and the rows of a table, split by the delimiter that it names, or else that fits it best.

    That is one by which all rows are of one width, or at least none is wider than the header, and of these
    the one that makes the most columns.
    """
    named = _SEPARATOR.match(text)
    delimiters, text = (named[1], text[named.end() :]) if named else (_DELIMITERS, text)
    found: list[tuple[tuple[bool, bool, int], list[list[str]]]] = []
    problem = "it needs a header of at least two columns, and rows"
    for delimiter in delimiters:
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            rows = [row for row in reader if any(row)]
        except csv.Error as error:
            problem = str(error)
            continue
        columns = sum(map(bool, _values(rows[0]))) if len(rows) > 1 else 0
        if columns > 1:
            regular = all(len(row) == len(rows[0]) for row in rows)
            rows = [rows[0], *map(_trimmed, rows[1:])]
            found.append(((regular, all(len(row) <= len(rows[0]) for row in rows), columns), rows))
    if not found:
        raise DocumentRefused(f"not a CSV table: {problem}")
    return max(found, key=lambda each: each[0])[1]


def _trimmed(row: list[str]) -> list[str]:
    """A row without the empty cells at its end."""
    return row[: next((at for at in range(len(row), 0, -1) if row[at - 1].strip()), 0)]


def _values(row: list[str]) -> list[str]:
    return [" ".join(cell.split()) for cell in row]


def _codes(cell: str) -> tuple[str, ...]:
    """The codes in a cell, as they are spelt: a word, or two with a digit (`E 421`); a sentence is none."""
    return tuple(value for value in _values(re.split("[,;]", cell)) if _CODE.fullmatch(value))


def _section(names: list[str], row: list[str], line: int) -> str:
    if len(row) > len(names):
        raise DocumentRefused(f"row {line} has {len(row)} values for {len(names)} columns")
    values = _values(row)
    heading = ": ".join(value for value in values[:2] if value)
    facts = [f"- {name}: {value}" for name, value in zip(names, values, strict=False) if value]
    return "\n".join([f"## {heading}", "", *facts])


def _markdown(page: str) -> Extracted:
    from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

    options = ConversionOptions(
        skip_images=True, compact_tables=True, bullets="-", extract_metadata=True, autolinks=False,
        # The body of a page may be one large form.
        preprocessing=PreprocessingOptions(enabled=True, remove_forms=False),
    )  # fmt: skip
    found = convert(page, options)
    about = found.metadata.document
    # Its metadata as front matter, which is not the author's; a blank line follows a rule of the page's own.
    text = _FRONT_MATTER.sub("", found.content or "", count=1).strip()
    said = {name.lower(): content for name, content in about.meta_tags.items()}
    updated = next((moment for name in _UPDATED if (moment := _moment(said.get(name, "")))), None)
    return Extracted(text, about.title or "", about.language or "", updated)


def _core_properties(archive: zipfile.ZipFile) -> tuple[str, str, datetime | None]:
    """Title, language and time of the last change, as far as the document has them."""
    if _CORE not in archive.namelist():
        return "", "", None
    root = ElementTree.fromstring(archive.read(_CORE))
    title, language, changed = (
        (root.findtext(name, "", _TERMS) or "").strip()
        for name in ("dc:title", "dc:language", "dcterms:modified")
    )
    return title, language, _moment(changed)


def _moment(text: str) -> datetime | None:
    """The moment (UTC) that a file says, or None where it says none."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


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
