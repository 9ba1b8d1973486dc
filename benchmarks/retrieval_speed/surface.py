"""Any number of vectors that lie as embeddings do: on a smooth surface of few dimensions among many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from indexes.vector import Vectors

DIMENSION = 384
BATCH = 50_000
# As all-MiniLM-L6-v2 places 800 passages of SciFact and 400 of manuals, nearly all of Tasmota's: their mean
# is 0.32 long, and the variances along their principal axes fall about as i ** -0.75.
_MEAN_LENGTH = 0.32
_DECAY = 0.75
# Of 16 pairs tried, near the one under which 800 vectors have about the neighbours of 800 passages of
# SciFact: cosines of 0.55 to the first and 0.43 to the tenth (SciFact: 0.58 and 0.43), a local dimension of
# 24 (20). That more vectors lie so too is supposed. Recall hangs on it: of two mixtures of Gaussians, tried
# before, IVF found in one about half of the ten nearest with 32 lists, and in the other all with eight.
_INNER = 16
_BEND = 0.42


class Surface:
    """Unit vectors, each a point of `_INNER` dimensions bent into 384; a batch of a seed stays the same."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        variances = np.arange(1, DIMENSION + 1) ** -_DECAY
        variances *= (1 - _MEAN_LENGTH**2) / variances.sum()
        self._reach = np.sqrt(2 * variances).astype(np.float32)  # a cosine's own variance is a half
        rng = np.random.default_rng((seed, 0))
        mean = rng.standard_normal(DIMENSION, np.float32)
        self._mean = mean * np.float32(_MEAN_LENGTH) / np.linalg.norm(mean)
        self._waves = rng.standard_normal((_INNER, DIMENSION), np.float32) * np.float32(_BEND)
        self._phases = rng.uniform(0, 2 * np.pi, DIMENSION).astype(np.float32)

    def queries(self, count: int) -> Vectors:
        """Vectors that are in no batch."""
        return self._drawn(1, count)

    def batches(self, count: int) -> Iterator[Vectors]:
        """`count` vectors in batches of `BATCH`."""
        for number, start in enumerate(range(0, count, BATCH)):
            yield self._drawn(2 + number, min(BATCH, count - start))

    def _drawn(self, stream: int, count: int) -> Vectors:
        points = np.random.default_rng((self._seed, stream)).standard_normal((count, _INNER), np.float32)
        vectors = self._mean + self._reach * np.cos(points @ self._waves + self._phases)
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
