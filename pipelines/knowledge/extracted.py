"""What comes out of a file: its text in Markdown, or the reason why it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from iotops.errors import IotOpsError

MAXIMUM_TEXT = 8 * 2**20
"""Characters of a document; a manual of 1,000 pages has 3 million."""


class DocumentRefused(IotOpsError):
    """A document that is not taken in, with the reason."""


@dataclass(frozen=True)
class Extracted:
    """The text of a file in Markdown, and what the file says of itself."""

    text: str
    title: str = ""
    language: str = ""
    updated: datetime | None = None
