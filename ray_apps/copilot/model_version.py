"""Which language model writes, as it says itself, without an answer that waits for it while it is busy."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)


class ModelVersion:
    """What a model said of itself a moment ago; it is asked again beside the answers, not for each."""

    def __init__(
        self,
        describe: Callable[[], Awaitable[dict[str, Any]]],
        *,
        timeout_s: float = 1.0,
        remembered_s: float = 5.0,
        stale_s: float = 60.0,
    ) -> None:
        """It is asked again after `remembered_s`; what it said longer ago than `stale_s` is waited for."""
        self._describe = describe
        self._timeout_s, self._remembered_s, self._stale_s = timeout_s, remembered_s, stale_s
        self._described: dict[str, Any] = {"name": "none"}
        self._described_at = -math.inf
        self._describing: asyncio.Task[None] | None = None

    async def current(self) -> str:
        """The description; where the model does not answer, the last one that there was."""
        age_s = time.monotonic() - self._described_at
        if age_s > self._remembered_s and self._describing is None:
            self._describing = asyncio.create_task(self._ask())
        if self._describing and age_s > self._stale_s:
            await asyncio.shield(self._describing)
        return str(self._described)

    async def _ask(self) -> None:
        try:
            described = await asyncio.wait_for(self._describe(), self._timeout_s)
            self._described = {name: told for name, told in described.items() if name != "circuits"}
        except Exception as error:
            logger.warning("the language model does not say which it is: %r", error)
        finally:
            self._described_at, self._describing = time.monotonic(), None
