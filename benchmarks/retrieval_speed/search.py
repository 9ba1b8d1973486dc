"""Hybrid search over one snapshot, by corpus size and by concurrent clients; and through Serve."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures, cells
from benchmarks.retrieval_speed import served
from benchmarks.retrieval_speed.corpus import Corpus, Model, grown, keywords
from benchmarks.retrieval_speed.library import STAGES, measured
from indexes.cross_encoder import RelevanceScorer
from indexes.hybrid import HybridIndex
from indexes.snapshot import Snapshot, write_snapshot
from iotops.settings import Settings
from pipelines.knowledge.chunking import CHUNKER

CLIENTS = (1, 4)


def run(
    model: Model,
    real: Corpus,
    sizes: Sequence[int],
    queries: int,
    through: Settings | None,
    scorer: RelevanceScorer,
    figures: Figures,
    console: Console,
) -> None:
    """Build and search a corpus of each size, also `through` Serve; print and keep what was measured."""
    shown = Table("chunks", "clients", "query", "p50", "p95", "p99 ms", "/s", " / ".join(STAGES))
    shown.title = f"stages are medians in ms; {len(real.chunks):,} chunks are real"
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
                for name, vectors, reads in (
                    ("embedded", None, None),
                    ("given", embedded, None),
                    ("embedded, reranked", None, scorer),
                ):
                    each = measured(index, model, texts, vectors, clients, reads)
                    found[f"{clients} clients, {name}"] = each
                    figures.add("search", str(size), found)
                    stages = " / ".join(f"{each['stages_ms'][stage]:.1f}" for stage in STAGES)
                    row = (f"{size:,}", f"{clients}", name, *cells(each))
                    shown.add_row(*row, f"{each['per_s']:.1f}", stages)
            if through:
                with served.shelved(through, directory) as tenant:
                    each = served.in_turn(through, tenant, [index], model, texts)
                    for clients in CLIENTS:
                        each[f"{clients} clients"] = served.at_once(through, tenant, texts, clients)
                figures.add("search", str(size), found | {"through Serve": each})
                for name in ("library", "served"):
                    shown.add_row(f"{size:,}", "1", f"{name}, in turn", *cells(each[name]))
                for clients in CLIENTS:
                    at_once = each[f"{clients} clients"]
                    row = (f"{size:,}", f"{clients}", "served", *cells(at_once))
                    shown.add_row(*row, f"{at_once['per_s']:.1f}")
    console.print(shown)
    console.print(
        "To embed a million real chunks takes a CPU of two cores about a day: all but the real chunks are "
        "recombined sentences, with the vectors of real chunks and noise."
    )
