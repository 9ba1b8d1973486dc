"""One corpus as several snapshots, searched as one: whether the hits are the same, and what it costs.

Each shard gives as many candidates as one index does, so that more are fused than of one index and their
scores are scaled over more. With all chunks as candidates nothing differs but where they lie.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures, cells, latencies, overlap
from benchmarks.retrieval_speed.corpus import Corpus, Model, grown, keywords
from indexes.hybrid import HybridIndex, Ranking, search_all
from indexes.snapshot import Snapshot, write_snapshot
from indexes.vector import Vectors
from pipelines.knowledge.chunking import CHUNKER

SHARDS = 4
TOP_K = 10


@dataclass
class Way:
    """Indexes searched as one, and what they answered."""

    snapshots: list[Snapshot]
    ranking: Ranking
    milliseconds: list[float] = field(default_factory=list)
    hits: list[list[str]] = field(default_factory=list)

    def search(self, text: str, vector: Vectors, timed: bool) -> None:
        """Search for the best `TOP_K`; kept are their texts and, if timed, the milliseconds."""
        indexes = [HybridIndex(snapshot, self.ranking) for snapshot in self.snapshots]
        started = time.perf_counter()
        hits = search_all(indexes, text, vector, TOP_K)
        if timed:
            self.milliseconds.append((time.perf_counter() - started) * 1000)
            self.hits.append([hit.text for hit in hits])


def run(model: Model, real: Corpus, size: int, queries: int, figures: Figures, console: Console) -> None:
    """Search a corpus whole and in shards, in turn; print and keep what was measured."""
    corpus = grown(real, size)
    texts = keywords(real.chunks["text"].to_pylist(), queries)
    vectors = model.encoder.encode(texts)
    with tempfile.TemporaryDirectory(prefix="shards-") as folder, console.status(f"indexing {size:,} chunks"):
        whole = [written(corpus, model, Path(folder) / "whole")]
        shards = [
            written(Corpus(corpus.chunks.take(rows), corpus.vectors[rows]), model, Path(folder) / f"{number}")
            for number, rows in enumerate(np.arange(size)[at::SHARDS] for at in range(SHARDS))
        ]
        ways = {
            "one index": Way(whole, Ranking()),
            f"{SHARDS} shards": Way(shards, Ranking()),
            "one index, all chunks candidates": Way(whole, Ranking(candidates=size)),
            f"{SHARDS} shards, all chunks candidates": Way(shards, Ranking(candidates=size)),
        }
        for timed in (False, True):
            for text, vector in zip(texts, vectors, strict=True):
                for way in ways.values():
                    way.search(text, vector, timed)
    shown = Table("", "p50", "p95", "p99 ms", f"same hits of {TOP_K}", "same order", title=f"{size:,} chunks")
    one, _, complete, _ = ways.values()
    for (name, way), expected in zip(ways.items(), (one, one, complete, complete), strict=True):
        same = np.mean([a == b for a, b in zip(way.hits, expected.hits, strict=True)])
        each: dict[str, Any] = {
            "chunks": size, "overlap_10": overlap(way.hits, expected.hits), "same_order": float(same),
            **latencies(way.milliseconds),
        }  # fmt: skip
        figures.add("shards", name, each)
        shown.add_row(name, *cells(each), f"{each['overlap_10']:.3f}", f"{same:.3f}")
    console.print(shown)


def written(corpus: Corpus, model: Model, directory: Path) -> Snapshot:
    """A corpus as a snapshot."""
    write_snapshot(corpus.chunks, corpus.vectors, directory, embedder=model.about.identity, chunker=CHUNKER)
    return Snapshot.load(directory)
