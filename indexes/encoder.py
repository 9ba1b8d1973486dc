"""Sentences to unit vectors, with a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from indexes.vector import Vectors
from iotops.models import ResolvedModel
from iotops.models.hardware import preferred_device, preferred_dtype, texts_at_once


class SentenceEncoder:
    """A loaded embedding model; `max_tokens` shortens what it reads of each text."""

    def __init__(
        self, model: ResolvedModel, *, max_tokens: int | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.model = model
        self.device = preferred_device()
        self.dtype = dtype or preferred_dtype(self.device)
        self._encoder = SentenceTransformer(
            str(model.path),
            device=self.device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": self.dtype, "use_safetensors": True},
        )
        if max_tokens:
            self._encoder.max_seq_length = max_tokens

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        return int(self._encoder.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are read; the rest is cut off."""
        return int(self._encoder.max_seq_length or 0)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, d), float32, in the order of the texts.

        The model sorts by length before it makes batches, so that short texts do not wait for padding.
        """
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        raw = self._encoder.encode(
            list(texts), batch_size=texts_at_once(self.device), convert_to_numpy=True, show_progress_bar=False
        )
        vectors = np.asarray(raw, np.float32)
        # The model's own normalisation rounds to bfloat16, which leaves lengths off by up to 0.4 %.
        unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return unit
