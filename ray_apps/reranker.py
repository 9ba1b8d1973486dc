"""The reranker: scores texts against a query, where a cross-encoder can be had."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray import serve

from indexes.cross_encoder import RelevanceScorer
from iotops.models import resolve_role
from iotops.settings import get_settings
from ray_apps.embedder import use_all_cores

logger = logging.getLogger(__name__)


@serve.deployment(max_ongoing_requests=64)
class Reranker:
    """Holds the cross-encoder; without one it stays up and says so, for a search works without it too."""

    def __init__(self) -> None:
        use_all_cores()
        self._scorer: RelevanceScorer | None = None
        self._reason = ""
        try:
            self._scorer = RelevanceScorer(resolve_role(get_settings(), "reranker"))
        except Exception as error:
            # Whatever is wrong with it, an optional model must not keep the application from starting.
            logger.warning("no reranker: %s", error)
            # What `describe` says is public: the paths and addresses in the error stay in the log.
            self._reason = "its weights cannot be had here; the replica's log says why"

    async def score(self, query: str, texts: list[str]) -> list[float] | None:
        """One score per text, higher is better; None where there is no model."""
        if self._scorer is None:
            return None
        scores = await asyncio.to_thread(self._scorer.score, query, texts)
        return [float(score) for score in scores]

    async def check_health(self) -> None:
        """Raises where a loaded model no longer computes."""
        await self.score("health", ["health"])

    def describe(self) -> dict[str, Any]:
        """`available`; then name, source, revision, checksum and device, or else the `reason`."""
        if self._scorer is None:
            return {"available": False, "reason": self._reason}
        model = self._scorer.model.model_dump(exclude={"path"})
        return {"available": True, **model, "device": self._scorer.device}
