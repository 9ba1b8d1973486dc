"""A guard for tests without the embedding model: its rules alone."""

from __future__ import annotations

from typing import cast

from ray.serve.handle import DeploymentHandle

from iotops.settings import GuardSettings
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.sentence_vectors import SentenceVectors


class _Describe:
    async def remote(self) -> dict[str, str]:
        return {"checksum": "of another model"}


class _Embedder:
    describe = _Describe()


def rules_alone() -> Guard:
    """A guard whose embedder serves a model that its heads were not trained for."""
    embedder = cast(DeploymentHandle, _Embedder())
    return Guard(GuardSettings(), embedder, SentenceVectors(embedder))
