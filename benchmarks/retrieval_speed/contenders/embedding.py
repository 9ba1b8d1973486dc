"""`python -m benchmarks.retrieval_speed.contenders.embedding NAME FOLDER MODEL`: a way to embed as a process.

Each line of stdin has it embed the passages of the folder's `chunks.parquet` by the model in a folder; it
answers with the seconds that this took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.retrieval_speed.contenders.process import CHUNKS

WARM_UP = 16
Embed = Callable[[list[str]], Any]


def main() -> None:
    """Load the model, say so, and embed as often as a line asks for it."""
    name, folder, model = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    passages = pq.read_table(folder / CHUNKS)["passage"].to_pylist()
    started = time.perf_counter()
    embed = WAYS[name](model)
    embed(passages[:WARM_UP])
    print(json.dumps({"ready_s": time.perf_counter() - started}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        embed(passages)
        print(json.dumps({"s": time.perf_counter() - started}), file=answers, flush=True)


def ours(model: str) -> Embed:
    """What each actor of the batch embedding runs."""
    from benchmarks.retrieval_speed.contenders.iotops import model_in
    from indexes.encoder import SentenceEncoder

    return SentenceEncoder(model_in(model)).encode


def lancedb(model: str) -> Embed:
    """Its embedding function of the registry."""
    from lancedb.embeddings import get_registry

    function = get_registry().get("sentence-transformers").create(name=model)
    embed: Embed = function.compute_source_embeddings
    return embed


def txtai(model: str) -> Embed:
    """Its embeddings, without an index."""
    from txtai import Embeddings

    embeddings = Embeddings(path=model)
    embed: Embed = embeddings.batchtransform
    return embed


def haystack(model: str) -> Embed:
    """Its component for documents."""
    from haystack import Document
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    embedder = SentenceTransformersDocumentEmbedder(model=model, progress_bar=False)
    embedder.warm_up()
    return lambda texts: embedder.run(documents=[Document(content=text) for text in texts])


WAYS: dict[str, Callable[[str], Embed]] = {
    "iotops": ours,
    "lancedb_peer": lancedb,
    "txtai_peer": txtai,
    "haystack_peer": haystack,
}


if __name__ == "__main__":
    main()
