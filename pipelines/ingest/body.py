"""Reading a request's body within a limit, packed or not."""

from __future__ import annotations

import zlib

from fastapi import Request

from iotops.http import ApiError

GZIP = 31  # zlib's window bits for a gzip header


async def read_body(request: Request, limit: int) -> bytes:
    """The body, unpacked; refused as soon as it grows past the limit, before it fills the memory."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise ApiError(
            415, "unsupported_encoding", f"Content-Encoding {encoding!r} is unknown: send gzip, or none"
        )
    unpack = zlib.decompressobj(GZIP) if encoding == "gzip" else None
    body = bytearray()
    async for part in request.stream():
        try:
            body += unpack.decompress(part, limit + 1 - len(body)) if unpack else part
        except zlib.error as error:
            raise ApiError(400, "invalid_gzip", f"the body is no gzip: {error}") from None
        if len(body) > limit:
            raise ApiError(413, "too_large", f"the body has more than {limit} bytes: send less at once")
    if unpack and not unpack.eof:
        raise ApiError(400, "invalid_gzip", "the gzip body ends early: send it whole")
    return bytes(body)
