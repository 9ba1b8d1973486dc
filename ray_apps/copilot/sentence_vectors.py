"""Vectors of sentences, kept: the same passages and records are read for one question after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cachetools import LRUCache
from ray.serve.handle import DeploymentHandle

from iotops.tenancy import Tenant
from ray_apps.copilot.grounding import Vectors

MOST = 20_000
"""Sentences of a replica, all tenants together: 1.5 KB each of MiniLM's, so some 35 MB."""


class SentenceVectors:
    """The served embedder, which is asked for each sentence of a tenant's once.

    What one tenant had embedded never answers another: the time that a question takes tells nobody what
    others ask.
    """

    def __init__(self, embedder: DeploymentHandle, most: int = MOST) -> None:
        self._embedder = embedder
        self._kept: LRUCache[tuple[str, str], Vectors] = LRUCache(most)

    async def of(self, tenant: Tenant, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, d), float32, in the order of the texts, of which there is at least one."""
        found = {text: self._kept.get((tenant.id, text)) for text in texts}
        new = [text for text, vector in found.items() if vector is None]
        if new:
            vectors = np.asarray(await self._embedder.encode.remote(new), np.float32)
            found |= zip(new, vectors, strict=True)
            self._kept.update(((tenant.id, text), vector) for text, vector in zip(new, vectors, strict=True))
        return np.stack([vector for text in texts if (vector := found[text]) is not None])
