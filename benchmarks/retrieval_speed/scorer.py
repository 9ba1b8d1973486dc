"""The reranker whose time is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from sentence_transformers import CrossEncoder

from indexes.cross_encoder import RelevanceScorer
from indexes.hits import Hit, rerank
from indexes.schema import passage
from indexes.snapshot import DEFAULT_RERANKER_WEIGHT
from iotops.errors import IotOpsError
from iotops.models import ResolvedModel, resolve_role
from iotops.settings import Settings

UNTRAINED = "untrained"
"""Name of a model whose order means nothing."""


@contextmanager
def reranker(settings: Settings, console: Console) -> Iterator[ResolvedModel]:
    """The product's; where its weights cannot be had, one of the embedder's layers with an untrained head,
    which takes the time of ms-marco-MiniLM-L-6 and is there until the context ends."""
    try:
        found = resolve_role(settings, "reranker")
    except IotOpsError as error:
        console.print(f"reranking with an untrained head on the embedder's layers, which is as fast: {error}")
    else:
        yield found
        return
    embedder = resolve_role(settings, "embedder")
    with tempfile.TemporaryDirectory(prefix="reranker-") as folder:
        CrossEncoder(str(embedder.path), num_labels=1, device="cpu").save_pretrained(folder)
        yield embedder.model_copy(update={"name": UNTRAINED, "path": Path(folder)})


def reranked(scorer: RelevanceScorer, text: str, hits: list[Hit]) -> list[Hit]:
    """Hits as the retriever reranks them, at the weight that a new shelf has."""
    read = [passage(hit.title, hit.section, hit.text) for hit in hits]
    return rerank(hits, scorer.score(text, read).tolist(), DEFAULT_RERANKER_WEIGHT)
