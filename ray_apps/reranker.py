"""The reranker: scores texts against a query, where a cross-encoder can be had."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from ray import serve

from indexes.tuned import tuned_model
from iotops.lake import lake_filesystem
from iotops.models import ResolvedModel, resolve_role
from iotops.settings import get_settings
from ray_apps.embedder import use_all_cores

if TYPE_CHECKING:
    from indexes.cross_encoder import RelevanceScorer

QUERIES_PER_BATCH = 8
TUNED_PER_REPLICA = 8
"""Each takes some 100 MB."""
logger = logging.getLogger(__name__)


class Scorer(Protocol):
    """What scores: `indexes.cross_encoder.RelevanceScorer`, or anything that behaves like it."""

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """One score per query with a text (n,)."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What one request wants scored, and by which model."""

    scorer: Scorer
    pairs: list[tuple[str, str]]


def load_scorer(model: ResolvedModel) -> RelevanceScorer:
    """The model, loaded: seconds of work and half a gigabyte, most of them torch, for those who have one."""
    from indexes.cross_encoder import RelevanceScorer

    use_all_cores()
    return RelevanceScorer(model)


def scores_of(wanted: Sequence[Wanted]) -> list[list[float]]:
    """Each request's scores; the pairs of one model are read together."""
    found: dict[int, list[float]] = {}
    for scorer in dict.fromkeys(each.scorer for each in wanted):
        of_model = [(at, each) for at, each in enumerate(wanted) if each.scorer is scorer]
        scores = iter(scorer.score_pairs([pair for _, each in of_model for pair in each.pairs]).tolist())
        found |= {at: list(islice(scores, len(each.pairs))) for at, each in of_model}
    return [found[at] for at in range(len(wanted))]


@serve.deployment(max_ongoing_requests=64)
class Reranker:
    """Holds the cross-encoder; without one it stays up and says so, for a search works without it too."""

    def __init__(self) -> None:
        self._scorer: RelevanceScorer | None = None
        self._reason = ""
        try:
            self._scorer = load_scorer(resolve_role(get_settings(), "reranker"))
        except Exception as error:
            # Whatever is wrong with it, an optional model must not keep the application from starting.
            logger.warning("no reranker: %s", error)
            # What `describe` says is public: the paths and addresses in the error stay in the log.
            self._reason = "its weights cannot be had here; the replica's log says why"

    async def score(self, query: str, texts: list[str], tuned: str = "") -> list[float] | None:
        """One score per text, higher is better; None where there is no model.

        `tuned` is `<tenant>/<id>` of a model that was tuned on that tenant's shelf, to be used instead.
        """
        scorer = await self._tuned(tuned) if tuned else self._scorer
        if scorer is None:
            return None
        scores: list[float] = await self._batched(Wanted(scorer, [(query, text) for text in texts]))
        return scores

    @serve.batch(max_batch_size=QUERIES_PER_BATCH, batch_wait_timeout_s=0)
    async def _batched(self, wanted: list[Wanted]) -> list[list[float]]:
        return await asyncio.to_thread(scores_of, wanted)

    @serve.multiplexed(max_num_models_per_replica=TUNED_PER_REPLICA)
    async def _tuned(self, name: str) -> RelevanceScorer:
        owner, _, model = name.partition("/")
        settings = get_settings()
        cache = settings.home / "models" / "tuned"
        return await asyncio.to_thread(
            lambda: load_scorer(tuned_model(lake_filesystem(settings.lake), owner, model, cache))
        )

    async def check_health(self) -> None:
        """Raises where a loaded model no longer computes."""
        await self.score("health", ["health"])

    def describe(self) -> dict[str, Any]:
        """`available`; then name, source, revision, checksum and device, or else the `reason`."""
        if self._scorer is None:
            return {"available": False, "reason": self._reason}
        model = self._scorer.model.model_dump(exclude={"path"})
        return {"available": True, **model, "device": self._scorer.device}
