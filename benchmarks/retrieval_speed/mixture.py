"""Any number of vectors that lie as embeddings do: clusters, and variance that falls from axis to axis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from indexes.vector import Vectors

DIMENSION = 384
BATCH = 50_000
# As all-MiniLM-L6-v2 places 1,200 passages of SciFact and of three projects' manuals: their mean is 0.32
# long, and the variances along their principal axes fall about as i ** -0.75.
_MEAN_LENGTH = 0.32
_DECAY = 0.75
# Not measured: how many topics a large shelf has, and how much of the variance lies between them.
_CLUSTERS = 10_000
_BETWEEN = 0.5


class Mixture:
    """Unit vectors of a mixture of Gaussians; the same batch of the same seed is always the same."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        variances = np.arange(1, DIMENSION + 1) ** -_DECAY
        variances *= (1 - _MEAN_LENGTH**2) / variances.sum()
        self._spread = np.sqrt(variances).astype(np.float32)
        rng = np.random.default_rng((seed, 0))
        mean = rng.standard_normal(DIMENSION, np.float32)
        mean *= np.float32(_MEAN_LENGTH) / np.linalg.norm(mean)
        centres = rng.standard_normal((_CLUSTERS, DIMENSION), np.float32)
        self._centres = mean + centres * self._spread * np.float32(_BETWEEN**0.5)

    def queries(self, count: int) -> Vectors:
        """Vectors that are in no batch."""
        return self._drawn(1, count)

    def batches(self, count: int) -> Iterator[Vectors]:
        """`count` vectors in batches of `BATCH`."""
        for number, start in enumerate(range(0, count, BATCH)):
            yield self._drawn(2 + number, min(BATCH, count - start))

    def _drawn(self, stream: int, count: int) -> Vectors:
        rng = np.random.default_rng((self._seed, stream))
        vectors = rng.standard_normal((count, DIMENSION), np.float32)
        vectors *= self._spread * np.float32((1 - _BETWEEN) ** 0.5)
        vectors += self._centres[rng.integers(_CLUSTERS, size=count)]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
