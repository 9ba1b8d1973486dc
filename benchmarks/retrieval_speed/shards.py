"""One corpus as several snapshots, searched as one: the same hits, and what it costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval_speed.corpus import Corpus, Model, grown, keywords
from benchmarks.retrieval_speed.figures import Figures, cells, latencies, overlap
from indexes.hybrid import HybridIndex, search_all
from indexes.snapshot import Snapshot, write_snapshot
from indexes.vector import Vectors
from pipelines.knowledge.chunking import CHUNKER

SHARDS = 4
TOP_K = 10
Search = Callable[[str, Vectors], list[str]]


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
        ways: dict[str, Search] = {
            "one index": lambda text, vector: found(whole, text, vector),
            f"{SHARDS} shards": lambda text, vector: found(shards, text, vector),
        }
        spent: dict[str, list[float]] = {name: [] for name in ways}
        hits: dict[str, list[list[str]]] = {name: [] for name in ways}
        for text, vector in zip(texts, vectors, strict=True):
            for name, search in ways.items():
                started = time.perf_counter()
                hits[name].append(search(text, vector))
                spent[name].append((time.perf_counter() - started) * 1000)
    expected = hits["one index"]
    shown = Table("", "p50", "p95", "p99 ms", f"same hits of {TOP_K}", "same order", title=f"{size:,} chunks")
    for name, ranked in hits.items():
        same = sum(a == b for a, b in zip(ranked, expected, strict=True)) / len(expected)
        each: dict[str, Any] = {
            "chunks": size, "overlap_10": overlap(ranked, expected), "same_order": same,
            **latencies(spent[name]),
        }  # fmt: skip
        figures.add("shards", name, each)
        shown.add_row(name, *cells(each), f"{each['overlap_10']:.3f}", f"{same:.3f}")
    console.print(shown)


def written(corpus: Corpus, model: Model, directory: Path) -> HybridIndex:
    """A corpus as an index."""
    write_snapshot(corpus.chunks, corpus.vectors, directory, embedder=model.about.identity, chunker=CHUNKER)
    return HybridIndex(Snapshot.load(directory))


def found(indexes: list[HybridIndex], text: str, vector: Vectors) -> list[str]:
    """The texts of the best hits."""
    return [hit.text for hit in search_all(indexes, text, vector, TOP_K)]
