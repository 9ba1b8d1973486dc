"""A guard and sentence vectors for tests without the embedding model: rules alone, and all alike."""

from __future__ import annotations

from typing import cast

import numpy as np
from ray.serve.handle import DeploymentHandle

from iotops.settings import GuardSettings
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors
from ray_apps.copilot.guard.guard import Guard


class _Describe:
    async def remote(self) -> dict[str, str]:
        return {"checksum": "of another model"}


class _Encode:
    async def remote(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 1), np.float32)


class _Embedder:
    describe, encode = _Describe(), _Encode()


def alike() -> SentenceVectors:
    """Vectors that are the same for every text."""
    return SentenceVectors(cast(DeploymentHandle, _Embedder()))


def rules_alone() -> Guard:
    """A guard whose embedder serves a model that its heads were not trained for."""
    embedder = cast(DeploymentHandle, _Embedder())
    return Guard(GuardSettings(), embedder, SentenceVectors(embedder))
