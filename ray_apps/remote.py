"""What the clients of language models elsewhere share.

None of them tries again by itself: another model is asked instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from iotops.models.catalogue import Endpoint
from ray_apps.chat import Busy, Completion, EngineError, Messages, Piece, RequestRefused

CONNECT_S = 5.0
REFUSALS = (400, 413, 422)
"""Statuses of a request that is at fault itself."""
BUSY = (429, 529)
"""Statuses of a server that works, and has no room for this request."""
CHARACTERS_PER_TOKEN = 4
MOST_TOLD = 300


@contextmanager
def failures(name: str, key: str) -> Iterator[None]:
    """A client's failures in our words: what a server answers may hold the key that it was sent, and would
    end in the log."""
    try:
        yield
    except Exception as error:
        status = getattr(error, "status_code", None)
        if status in REFUSALS:
            told = str(error).replace(key, "***")[:MOST_TOLD]
            raise RequestRefused(f"{name} refused the request: {told}") from None
        if status in BUSY:
            raise Busy(f"{name} has no room: status {status}") from None
        if status:
            raise EngineError(f"{name} answered with status {status}") from None
        raise EngineError(f"{name} failed: {type(error).__name__}") from error


def described(name: str, endpoint: Endpoint) -> dict[str, Any]:
    """What is known of a model without asking its server, which each readiness check would."""
    return {"name": name, "source": f"{endpoint.api} endpoint", "revision": endpoint.model or name}


def estimated(messages: Messages) -> int:
    """About how many tokens messages are."""
    return sum(len(each["content"]) for each in messages) // CHARACTERS_PER_TOKEN


def piece(name: str, text: str, read: int, written: int, finish: str) -> Piece:
    """Some text, with the tokens so far."""
    return Piece(text=text, prompt_tokens=read, completion_tokens=written, finish_reason=finish, model=name)


def whole(name: str, started: float, text: str, read: int, written: int) -> Completion:
    """An answer that came at once, asked for at a reading of `time.perf_counter`."""
    return Completion(
        text=text,
        prompt_tokens=read,
        completion_tokens=written,
        ttft_s=None,
        total_s=time.perf_counter() - started,
        finish_reason="stop",
        model=name,
    )
