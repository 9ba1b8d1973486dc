"""Vectors of sentences, kept: the same passages and records are read for one question after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from cachetools import LRUCache
from ray.serve.handle import DeploymentHandle

from indexes.vector import Vectors
from iotops.tenancy import Tenant

MOST = 20_000
"""Sentences of a replica, all tenants together: 1.5 KB each of MiniLM's, so some 35 MB."""
Key = tuple[str, str]
"""Id of a tenant, and a sentence."""


class SentenceVectors:
    """The served embedder, which is asked for each sentence of a tenant's once, also by those who want it at
    the same time.

    What one tenant had embedded never answers another: the time that a question takes tells nobody what
    others ask.
    """

    def __init__(self, embedder: DeploymentHandle, most: int = MOST) -> None:
        self._embedder = embedder
        self._kept: LRUCache[Key, Vectors] = LRUCache(most)
        self._coming: dict[Key, asyncio.Task[dict[Key, Vectors]]] = {}

    async def of(self, tenant: Tenant, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, d), float32, in the order of the texts, of which there is at least one."""
        keys = [(tenant.id, text) for text in texts]
        found = {key: vector for key in keys if (vector := self._kept.get(key)) is not None}
        new = [key for key in dict.fromkeys(keys) if key not in found and key not in self._coming]
        if new:
            task = asyncio.create_task(self._embedded(new))
            self._coming |= dict.fromkeys(new, task)
        # One who leaves takes nothing from those who wait for the same.
        for task in {self._coming[key] for key in keys if key not in found}:
            found |= await asyncio.shield(task)
        return np.stack([found[key] for key in keys])

    async def _embedded(self, keys: list[Key]) -> dict[Key, Vectors]:
        try:
            rows = await self._embedder.encode.remote([text for _, text in keys])
            vectors = dict(zip(keys, np.asarray(rows, np.float32), strict=True))
            self._kept.update(vectors)
            return vectors
        finally:
            for key in keys:
                del self._coming[key]
