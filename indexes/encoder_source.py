"""What an embedding model is, and how to load it, without an import of torch before that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from iotops.models import ResolvedModel
from iotops.models.weights import remembered, weight_files

if TYPE_CHECKING:
    from indexes.encoder import SentenceEncoder


class EncoderShape(BaseModel):
    """How long a vector is, and how many tokens of a text are read."""

    model_config = ConfigDict(frozen=True)

    dimension: int
    max_tokens: int


def load_encoder(model: ResolvedModel) -> SentenceEncoder:
    """The model, loaded: seconds of work, most of them the import of torch."""
    from indexes.encoder import SentenceEncoder

    return SentenceEncoder(model)


def encoder_shape(model: ResolvedModel, cache: Path) -> EncoderShape:
    """The shape of a model: it is loaded and asked once, then remembered until its files change."""

    def asked() -> str:
        encoder = load_encoder(model)
        return EncoderShape(dimension=encoder.dimension, max_tokens=encoder.max_tokens).model_dump_json()

    files = [*weight_files(model.path), *sorted(model.path.rglob("*.json"))]
    return EncoderShape.model_validate_json(remembered(cache / ".shapes", files, asked))
