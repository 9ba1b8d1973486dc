"""What comes out of a file: its text in Markdown, or the reason why it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from iotops.errors import IotOpsError

MAXIMUM_TEXT = 8 * 2**20
"""Characters of a document; a manual of 1,000 pages has 3 million."""
_LONGEST_REASON = 200
_UNSTORABLE = re.compile("[\ud800-\udfff\0]")


Codes = tuple[tuple[int, tuple[str, ...]], ...]
"""Where each row of a table begins in the text, in order, and the error codes that the row is of."""


class DocumentRefused(IotOpsError):
    """A document that is not taken in, with the reason."""


class DocumentUnread(DocumentRefused):
    """A document that took too long or too much memory to read, which a busy machine may be to blame for."""


@dataclass(frozen=True)
class Extracted:
    """The text of a file in Markdown, and what the file says of itself."""

    text: str
    title: str = ""
    language: str = ""
    updated: datetime | None = None
    titled: bool = True
    """Whether its first heading may be its title: the number of a page or the words of a row are none."""
    codes: Codes = ()


def storable(text: str) -> str:
    """The text with U+FFFD for each character that UTF-8 or Postgres cannot hold: lone surrogates and NUL."""
    return _UNSTORABLE.sub("\ufffd", text)


@contextmanager
def naming(relative: str) -> Iterator[None]:
    """Whatever goes wrong within is a `DocumentRefused` that names the file."""
    try:
        yield
    except DocumentRefused as refused:
        raise DocumentRefused(f"{relative}: {refused}") from None
    except MemoryError as error:
        raise DocumentUnread(f"{relative}: needs too much memory") from error
    except Exception as error:  # a parser raises anything when a file is broken on purpose
        reason = f"cannot be read: {error!r}"
        raise DocumentRefused(f"{relative}: {reason[:_LONGEST_REASON]}") from error
