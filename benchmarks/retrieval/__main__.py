"""`python -m benchmarks.retrieval DIR...`: how well the product's ways to search find what was judged.

Measures are those of `ir_measures` (trec_eval's), with a 95 % interval from resampling the questions.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval.beir import Corpus, Qrels, read_corpus
from benchmarks.retrieval.systems import PLAIN, Run, System, search, snapshot_of
from indexes.cross_encoder import RelevanceScorer
from indexes.encoder import SentenceEncoder
from iotops.errors import IotOpsError
from iotops.models import resolve_role
from iotops.settings import Settings, get_settings
from pipelines.knowledge.shelf import embedding_model

MEASURES = (nDCG @ 10, R @ 10, R @ 100, RR @ 10)
RESAMPLES = 2000
PUBLISHED = {
    "scifact": {
        "BM25, Anserini": 0.6789,
        "all-MiniLM-L6-v2": 0.6451,
        "BM25 + ms-marco-MiniLM-L-6": 0.682,
    }
}
"""nDCG@10 on the test split."""


def measured(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Mean and 95 % interval of each measure."""
    values: dict[str, dict[str, float]] = {str(measure): dict.fromkeys(qrels, 0.0) for measure in MEASURES}
    for metric in ir_measures.iter_calc(MEASURES, qrels, run):
        values[str(metric.measure)][metric.query_id] = metric.value
    chosen = np.random.default_rng(1).integers(len(qrels), size=(RESAMPLES, len(qrels)))
    found = {}
    for name, of_query in values.items():
        each = np.fromiter(of_query.values(), np.float64)
        low, high = np.percentile(each[chosen].mean(axis=1), [2.5, 97.5])
        found[name] = {"mean": float(each.mean()), "low": float(low), "high": float(high)}
    return found


def systems(settings: Settings, console: Console) -> list[System]:
    """The plain ones, and the hybrid with the reranker that `models.yaml` names, where it can be had."""
    try:
        scorer = RelevanceScorer(resolve_role(settings, "reranker"))
    except IotOpsError as error:
        console.print(f"no reranker: {error}")
        return list(PLAIN)
    hybrid = PLAIN[2]
    return [*PLAIN, System(f"{hybrid.name} + {scorer.model.name}", hybrid.fusion, reranker=scorer)]


def compare(corpus: Corpus, settings: Settings, console: Console) -> dict[str, Any]:
    """Index a corpus, search it in every way, print the table; the figures."""
    model, encoder = embedding_model(settings), SentenceEncoder(resolve_role(settings, "embedder"))
    table = Table("", *(str(measure) for measure in MEASURES), "ms/query", title=corpus.name)
    figures: dict[str, Any] = {}
    with (
        console.status(f"{corpus.name}: indexing"),
        snapshot_of(corpus.documents, model, encoder) as snapshot,
    ):
        vectors = encoder.encode(list(corpus.queries.values()))
        for system in systems(settings, console):
            started = time.perf_counter()
            run = search(snapshot, system, corpus.queries, vectors)
            spent = (time.perf_counter() - started) / len(corpus.queries) * 1000
            found = measured(corpus.qrels, run)
            figures[system.name] = {"measures": found, "ms_per_query": spent}
            cells = (f"{each['mean']:.3f} ({each['low']:.3f}-{each['high']:.3f})" for each in found.values())
            table.add_row(system.name, *cells, f"{spent:.1f}")
    for name, ndcg in PUBLISHED.get(corpus.name, {}).items():
        table.add_row(f"published: {name}", f"{ndcg:.3f}")
    console.print(table)
    console.print(
        f"{len(corpus.documents):,} documents, {snapshot.manifest.chunks:,} chunks, "
        f"{len(corpus.queries):,} questions"
    )
    return figures


def main() -> None:
    """Compare on each folder; write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="corpora in BEIR's layout")
    parser.add_argument("--split", default="test", help="which qrels")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    console, figures = Console(), {}
    for folder in options.folders:
        try:
            corpus = read_corpus(folder, options.split)
        except OSError as error:
            parser.error(f"{folder} is not in BEIR's layout: {error}")
        figures[corpus.name] = compare(corpus, get_settings(), console)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
