"""Reading a request's body within limits, packed or not."""

from __future__ import annotations

import asyncio
import zlib

from fastapi import Request

from iotops.bounds import too_large, whole_body
from iotops.http import ApiError

GZIP = 31  # zlib's window bits for a gzip header
PART = 4096  # what is left of a part behind a member is copied: bytes
MOST_S = 30.0
"""A field gateway's whole batch may come over a slow link (seconds)."""


async def read_body(request: Request, limit: int, most_s: float = MOST_S) -> bytes:
    """The body, unpacked; refused where it is larger than the limit, packed or not, or takes too long."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise ApiError(
            415, "unsupported_encoding", f"Content-Encoding {encoding!r} is unknown: send gzip, or none"
        )
    body = await whole_body(request.receive, limit, most_s)
    # Beside the loop, which all callers share: many members in few bytes take half a second.
    return await asyncio.to_thread(_unpacked, body, limit) if encoding == "gzip" else body


def _unpacked(packed: bytes, limit: int) -> bytes:
    """All members of a gzip (RFC 1952, 2.2); refused as soon as they grow past the limit."""
    body, at = bytearray(), 0
    while True:
        member = zlib.decompressobj(GZIP)
        while not member.eof:
            part = packed[at : at + PART]
            if not part:
                raise ApiError(400, "invalid_gzip", "the gzip body ends early: send it whole")
            try:
                body += member.decompress(part, limit + 1 - len(body))
            except zlib.error as error:
                raise ApiError(400, "invalid_gzip", f"the body is not a gzip stream: {error}") from None
            if len(body) > limit:
                raise too_large(limit)
            at += len(part) - len(member.unused_data)
        if at == len(packed):
            return bytes(body)
