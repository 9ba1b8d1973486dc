"""What one call may take of a replica that all tenants share: bytes and time for its body, and a place."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from iotops.http import ApiError
from iotops.tenancy import Tenant

OVERLOAD_RETRY_S = 2


async def whole_body(receive: Receive, most_bytes: int, most_s: float) -> bytes:
    """A request's body, refused before it fills the memory, or holds the place of its call for ever.

    Raises `ApiError` 413 where it is too large, 408 where it takes longer than `most_s` (seconds), and
    `ClientDisconnect` where the caller goes away before its end.
    """
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(most_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > most_bytes:
                    raise too_large(most_bytes)
    except TimeoutError:
        slow = f"the body had not arrived within {most_s:g} s: send it without delay"
        raise ApiError(408, "too_slow", slow) from None
    return bytes(body)


def too_large(most_bytes: int) -> ApiError:
    """The refusal of a body with more bytes."""
    return ApiError(
        413, "too_large", f"the body has more than {most_bytes} bytes: send it in smaller requests"
    )


class Places:
    """What is in hand here, such as questions: of a tenant a share at most, so that its flood leaves room."""

    def __init__(self, what: str, share: int, places: float = math.inf) -> None:
        self._what, self._share, self._places = what, share, places
        self._taken: Counter[Tenant] = Counter()

    @contextmanager
    def of(self, tenant: Tenant) -> Iterator[None]:
        """One of them; raises `ApiError` 503 where none is free, or the tenant has its share."""
        if (all_taken := self._taken.total()) >= self._places:
            raise overloaded(f"{all_taken} {self._what} are being answered here")
        if (taken := self._taken[tenant]) >= self._share:
            raise overloaded(f"{taken} {self._what} of tenant {tenant.id} are being answered here")
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            self._taken += Counter()  # who has none is forgotten


def overloaded(why: str) -> ApiError:
    """The refusal of a call that finds no room now."""
    again = f"{why}: send this again in {OVERLOAD_RETRY_S} s"
    return ApiError(503, "overloaded", again, retry_after_s=OVERLOAD_RETRY_S)
