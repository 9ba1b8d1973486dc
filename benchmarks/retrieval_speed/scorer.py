"""The reranker whose time is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from sentence_transformers import CrossEncoder

from indexes.cross_encoder import RelevanceScorer
from iotops.errors import IotOpsError
from iotops.models import resolve_role
from iotops.settings import Settings


@contextmanager
def reranker(settings: Settings, console: Console) -> Iterator[RelevanceScorer]:
    """The product's; where its weights cannot be had, one of the embedder's layers with an untrained head,
    which takes the time of ms-marco-MiniLM-L-6 and whose order means nothing."""
    try:
        yield RelevanceScorer(resolve_role(settings, "reranker"))
        return
    except IotOpsError as error:
        console.print(f"reranking with an untrained head on the embedder's layers, which is as fast: {error}")
    embedder = resolve_role(settings, "embedder")
    with tempfile.TemporaryDirectory(prefix="reranker-") as folder:
        CrossEncoder(str(embedder.path), num_labels=1, device="cpu").save_pretrained(folder)
        yield RelevanceScorer(embedder.model_copy(update={"name": "untrained", "path": folder}))
