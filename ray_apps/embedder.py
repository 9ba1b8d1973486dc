"""The embedder: queries and texts to vectors."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray import serve

from indexes.encoder_source import load_encoder
from indexes.vector import Vectors
from iotops.models import resolve_role
from iotops.settings import get_settings

QUERIES_PER_BATCH = 32


@serve.deployment(max_ongoing_requests=64)
class Embedder:
    """Holds the sentence encoder that also made the indexes."""

    def __init__(self) -> None:
        use_all_cores()
        self._encoder = load_encoder(resolve_role(get_settings(), "embedder"))

    # None waits for others to share its batch: those that come while one is computed are the next.
    @serve.batch(max_batch_size=QUERIES_PER_BATCH, batch_wait_timeout_s=0)
    async def encode_query(self, queries: list[str]) -> list[Vectors]:
        """Called with one query, answers its unit vector (d,), float32; queries that meet share a batch."""
        return list(await self.encode(queries))

    async def encode(self, texts: list[str]) -> Vectors:
        """Unit vectors (n, d), float32, in the order of the texts."""
        return await asyncio.to_thread(self._encoder.encode, texts)

    async def check_health(self) -> None:
        """Raises where the model no longer computes."""
        await self.encode(["health"])

    def describe(self) -> dict[str, Any]:
        """Which model it is: name, source, revision, checksum, device, dtype, dimension, max_tokens."""
        encoder = self._encoder
        return {
            **encoder.model.model_dump(exclude={"path"}),
            "device": encoder.device,
            "dtype": str(encoder.dtype).removeprefix("torch."),
            "dimension": encoder.dimension,
            "max_tokens": encoder.max_tokens,
        }


def use_all_cores() -> None:
    """Let torch use this process's cores: Ray gives one thread to a replica that reserves under one CPU."""
    import torch  # takes seconds, which only a replica that computes is to spend

    torch.set_num_threads(len(os.sched_getaffinity(0)))
