"""The library alone: hybrid search over one snapshot, by corpus size and by concurrent clients."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval_speed.corpus import Corpus, Model, grown, keywords
from benchmarks.retrieval_speed.figures import Figures, cells, latencies
from indexes.hybrid import HybridIndex, Timings, search_all
from indexes.snapshot import Snapshot, write_snapshot
from indexes.vector import Vectors
from pipelines.knowledge.chunking import CHUNKER

CLIENTS = (1, 4)
TOP_K = 10
STAGES = ("embed", "vector", "bm25", "fuse")


@dataclass(frozen=True)
class Search:
    """One search, in milliseconds; `stages` are of its parts."""

    total: float
    stages: dict[str, float]


def run(
    model: Model, real: Corpus, sizes: Sequence[int], queries: int, figures: Figures, console: Console
) -> None:
    """Build and search a corpus of each size; print and keep what was measured."""
    shown = Table("chunks", "clients", "query", "p50", "p95", "p99 ms", "/s", " / ".join(STAGES))
    shown.title = f"the library alone; stages are medians in ms; {len(real.chunks):,} chunks are real"
    texts = keywords(real.chunks["text"].to_pylist(), queries)
    embedded = model.encoder.encode(texts)
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="search-") as folder, console.status(f"{size:,} chunks"):
            directory = Path(folder) / "snapshot"
            corpus = grown(real, size)
            started = time.perf_counter()
            write_snapshot(
                corpus.chunks, corpus.vectors, directory, embedder=model.about.identity, chunker=CHUNKER
            )
            rate = size / (time.perf_counter() - started)
            console.log(f"{size:,} chunks indexed, {rate:,.0f} a second")
            del corpus
            found: dict[str, Any] = {"build_chunks_per_s": rate}
            index = HybridIndex(Snapshot.load(directory))
            for clients in CLIENTS:
                for name, vectors in (("embedded", None), ("given", embedded)):
                    each = measured(index, model, texts, vectors, clients)
                    found[f"{clients} clients, {name}"] = each
                    figures.add("search", str(size), found)
                    stages = " / ".join(f"{each['stages_ms'][stage]:.1f}" for stage in STAGES)
                    row = (f"{size:,}", f"{clients}", name, *cells(each))
                    shown.add_row(*row, f"{each['per_s']:.1f}", stages)
    console.print(shown)
    console.print(
        "To embed a million real chunks takes a CPU of two cores about a day: all but the real chunks are "
        "recombined sentences, with the vectors of real chunks and noise."
    )


def measured(
    index: HybridIndex, model: Model, texts: list[str], vectors: Vectors | None, clients: int
) -> dict[str, Any]:
    """Latencies, searches per second and the stages' medians, after a few searches to warm up."""

    def one(at: int) -> Search:
        return search([index], model, texts[at], None if vectors is None else vectors[at])

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(min(10, len(texts)))))
        started = time.perf_counter()
        found = list(pool.map(one, range(len(texts))))
        spent = time.perf_counter() - started
    stages = {name: float(np.median([each.stages[name] for each in found])) for name in STAGES}
    totals = latencies([each.total for each in found])
    return {**totals, "per_s": len(texts) / spent, "stages_ms": stages}


def search(indexes: Sequence[HybridIndex], model: Model, text: str, vector: Vectors | None) -> Search:
    """Search for the best `TOP_K`; the query is embedded unless its vector is given."""
    started = time.perf_counter()
    if vector is None:
        vector = model.encoder.encode([text])[0]
        embed = (time.perf_counter() - started) * 1000
    else:
        embed = 0.0
    spent = Timings()
    search_all(indexes, text, vector, TOP_K, spent=spent)
    return Search((time.perf_counter() - started) * 1000, {"embed": embed, **asdict(spent)})
