"""How well texts answer a query, read together by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from iotops.models import ResolvedModel
from iotops.models.hardware import preferred_device, preferred_dtype, texts_at_once

MAX_TOKENS = 512


class RelevanceScorer:
    """A loaded cross-encoder with one output, which reads `MAX_TOKENS` of query plus text."""

    def __init__(self, model: ResolvedModel) -> None:
        self.model = model
        self.device = preferred_device()
        self._encoder = CrossEncoder(
            str(model.path),
            device=self.device,
            max_length=MAX_TOKENS,
            local_files_only=True,
            trust_remote_code=False,
            # A sigmoid would make one of all that fit well: in bfloat16 it is 1 from a score of 6.3 on.
            activation_fn=torch.nn.Identity(),
            model_kwargs={"dtype": preferred_dtype(self.device), "use_safetensors": True},
        )
        if self._encoder.num_labels != 1:
            raise ValueError(f"{model.name} has {self._encoder.num_labels} outputs: a reranker has one")

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """One score per text (n,), float32; higher is better, and the scale is the model's own."""
        return self.score_pairs([(query, text) for text in texts])

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """One score per query with a text (n,); pairs of several queries share batches."""
        if not pairs:
            return np.empty(0, np.float32)
        raw = self._encoder.predict(
            list(pairs), batch_size=texts_at_once(self.device), convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(raw, np.float32)
