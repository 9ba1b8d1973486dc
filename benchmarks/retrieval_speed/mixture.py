"""Any number of vectors that lie as embeddings do: topics within topics, and axes of falling variance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from indexes.vector import Vectors

DIMENSION = 384
BATCH = 50_000
# As all-MiniLM-L6-v2 places 1,200 passages of SciFact and of four projects' manuals: their mean is 0.32
# long, and the variances along their principal axes fall about as i ** -0.75. Of 800 of them, the distances
# to the nearest (cosines of 0.58 to the first and 0.43 to the tenth, a local dimension of 20) are those of
# a mixture of about 32 topics that hold 0.4 of the variance.
_MEAN_LENGTH = 0.32
_DECAY = 0.75
_TOPICS = 32
_SHARE = 0.4
# Not measured but supposed: that each topic falls into as many again in the same way. How hard the vectors
# are to search hangs on it: a flat mixture is either found whole in one list or spread over all of them.
_LEVELS = 4
_OFFSETS = 4096  # topics of the lower levels share offsets, from parents of their own


class Mixture:
    """Unit vectors of a mixture of mixtures of Gaussians; a batch of a seed is always the same."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        variances = np.arange(1, DIMENSION + 1) ** -_DECAY
        variances *= (1 - _MEAN_LENGTH**2) / variances.sum()
        self._spread = np.sqrt(variances).astype(np.float32)
        rng = np.random.default_rng((seed, 0))
        mean = rng.standard_normal(DIMENSION, np.float32)
        self._mean = mean * np.float32(_MEAN_LENGTH) / np.linalg.norm(mean)
        shares = [_SHARE * (1 - _SHARE) ** level for level in range(_LEVELS)]
        self._offsets = [
            rng.standard_normal((_OFFSETS, DIMENSION), np.float32) * self._spread * np.float32(share**0.5)
            for share in shares
        ]
        self._noise = self._spread * np.float32((1 - sum(shares)) ** 0.5)

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
        vectors *= self._noise
        vectors += self._mean
        topics = rng.integers(_TOPICS**_LEVELS, size=count)
        for level, offsets in enumerate(self._offsets, start=1):
            vectors += offsets[topics // _TOPICS ** (_LEVELS - level) % _OFFSETS]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
