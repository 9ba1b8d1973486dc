"""The detector's weights: two linear heads over the embedding and the wording of a window.

One reads questions, the other sentences of passages, where it also knows how far a sentence is from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes.vector import Vectors
from ray_apps.copilot.guard.phrases import FEATURES, features

WEIGHTS = Path(__file__).parent / "heads.npz"
CONTEXT_FEATURES = 4
_ALONE = 0.3


@dataclass(frozen=True)
class Head:
    """A linear classifier: a window whose score is above `threshold` (log-odds) is an attack."""

    weights: NDArray[np.float32]
    bias: float
    threshold: float

    def scores(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-odds above the threshold of each row (n,)."""
        found: NDArray[np.float32] = rows @ self.weights + (self.bias - self.threshold)
        return found


@dataclass(frozen=True)
class Heads:
    """Both heads, and the embedding model whose vectors they read."""

    question: Head
    passage: Head
    embedder: str
    checksum: str
    trained_on: dict[str, Any]

    @classmethod
    def load(cls, file: Path = WEIGHTS) -> Heads:
        """Read what `python -m benchmarks.guard.train` wrote; no pickle is read."""
        with np.load(file, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            question, passage = (
                Head(stored[name], about[name]["bias"], about[name]["threshold"])
                for name in ("question", "passage")
            )
        return cls(question, passage, about["embedder"], about["checksum"], about["trained_on"])

    def save(self, file: Path) -> None:
        """Write a file that `load` reads."""
        heads = {"question": self.question, "passage": self.passage}
        about = {
            **{name: {"bias": head.bias, "threshold": head.threshold} for name, head in heads.items()},
            "embedder": self.embedder,
            "checksum": self.checksum,
            "trained_on": self.trained_on,
        }
        np.savez_compressed(
            file,
            question=self.question.weights.astype(np.float32),
            passage=self.passage.weights.astype(np.float32),
            about=json.dumps(about),
        )


def question_rows(windows: Sequence[str], vectors: Vectors) -> NDArray[np.float32]:
    """What the question head reads of windows with their unit vectors (n, d): (n, d + FEATURES)."""
    wording = np.stack([features(window) for window in windows]) if windows else np.empty((0, FEATURES))
    return np.hstack([vectors, wording]).astype(np.float32)


def passage_rows(windows: Sequence[str], vectors: Vectors) -> NDArray[np.float32]:
    """What the passage head reads of one passage's windows, in order: (n, d + FEATURES + CONTEXT_FEATURES).

    Of the context: cosine with the mean of the other windows, the highest cosine with another window, the
    number of windows, and the mean cosine of all pairs.
    """
    count = len(windows)
    rows = question_rows(windows, vectors)
    if count < 2:
        context = np.tile([_ALONE, _ALONE, np.log1p(count) / 3, _ALONE], (count, 1))
        return np.hstack([rows, context]).astype(np.float32)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    others = vectors.sum(axis=0) - vectors
    away = (vectors * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-6)
    context = np.column_stack(
        [
            away,
            cosines.max(axis=1),
            np.full(count, np.log1p(count) / 3),
            np.full(count, cosines.sum() / (count * (count - 1))),
        ]
    )
    return np.hstack([rows, context]).astype(np.float32)
