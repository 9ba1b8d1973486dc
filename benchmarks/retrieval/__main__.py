"""`python -m benchmarks.retrieval DIR...`: how well the product's ways to search find what was judged.

Measures are those of `ir_measures` (trec_eval's), with a 95 % interval from resampling the questions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval.beir import Corpus, Qrels, read_corpus
from benchmarks.retrieval.plain import plain_runs
from benchmarks.retrieval.systems import FITTED, PLAIN, Run, System, fitted, labelled, search, snapshot_of
from benchmarks.retrieval.tuned import tuned
from indexes.cross_encoder import RelevanceScorer
from indexes.encoder import SentenceEncoder
from indexes.snapshot import Fusion
from iotops.commands.console import progress
from iotops.errors import ModelError
from iotops.models import resolve, resolve_role
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


def novel(qrels: Qrels, training: Qrels) -> Qrels:
    """The questions about documents that no training question is about; none where there are no such ones."""
    known = {document for grades in training.values() for document, grade in grades.items() if grade > 0}
    return {
        query: grades
        for query, grades in qrels.items()
        if known and not known & {document for document, grade in grades.items() if grade > 0}
    }


def rerankers(settings: Settings, folders: Sequence[Path], console: Console) -> list[RelevanceScorer]:
    """The one that `models.yaml` names, where it can be had, and those of the folders."""
    found = []
    for name in ("", *map(str, folders)):
        try:
            model = resolve(settings, name) if name else resolve_role(settings, "reranker")
        except ModelError as error:
            console.print(f"no reranker: {error}")
            continue
        found.append(RelevanceScorer(model))
    return found


def compare(
    corpus: Corpus,
    training: Corpus | None,
    settings: Settings,
    scorers: Sequence[RelevanceScorer],
    tuning: Path | None,
    console: Console,
) -> dict[str, Any]:
    """Index a corpus, search it in every way, print the table; the figures."""
    model, encoder = embedding_model(settings), SentenceEncoder(resolve_role(settings, "embedder"))
    table = Table("", *(str(measure) for measure in MEASURES), "ms/query", title=corpus.name)
    figures: dict[str, Any] = {}

    def row(name: str, run: Run, ms: float | None, qrels: Qrels = corpus.qrels) -> None:
        found = measured(qrels, run)
        figures[name] = {"measures": found, "ms_per_query": ms}
        cells = (f"{each['mean']:.3f} ({each['low']:.3f}-{each['high']:.3f})" for each in found.values())
        table.add_row(name, *cells, "" if ms is None else f"{ms:.1f}")

    with progress(f"{corpus.name}: indexing") as say:
        snapshot = snapshot_of(corpus, model, encoder, settings.home)
        vectors = encoder.encode(list(corpus.queries.values()))
        say(f"{corpus.name}: the plain way")
        for name, run in plain_runs(corpus.documents, corpus.queries, vectors, encoder).items():
            row(name, run, None)
        systems, apart = [*PLAIN], novel(corpus.qrels, training.qrels if training else {})
        systems += [
            System(f"{PLAIN[2].name} + {scorer.model.name}", Fusion(), reranker=scorer) for scorer in scorers
        ]
        if training:
            questions = labelled(snapshot, training)
            systems += fitted(snapshot, questions, encoder, scorers, say)
            if tuning:
                best = next(each.fusion for each in systems if each.name == FITTED)
                folder = tuning / corpus.name
                system, verdict = tuned(snapshot, questions, encoder, best, folder, say)
                console.print(f"{corpus.name}, {system.name}: {verdict}")
                systems.append(system)
        for system in systems:
            say(f"{corpus.name}: {system.name}")
            started = time.perf_counter()
            run = search(snapshot, system, corpus.queries, vectors)
            row(system.name, run, (time.perf_counter() - started) / len(corpus.queries) * 1000)
            if apart and system.name in (PLAIN[2].name, FITTED):
                row(
                    f"{system.name}: the {len(apart)} about no document of a training question",
                    run,
                    None,
                    apart,
                )
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
    parser.add_argument("--rerankers", nargs="*", type=Path, default=[], metavar="DIR", help="cross-encoders")
    parser.add_argument(
        "--tune", type=Path, metavar="DIR", help="also train a reranker on each train split, and keep it here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    console, settings, figures = Console(), get_settings(), {}
    scorers = rerankers(settings, [folder.resolve() for folder in options.rerankers], console)
    for folder in options.folders:
        try:
            corpus = read_corpus(folder, options.split)
            has_more = options.split != "train" and (folder / "qrels" / "train.tsv").is_file()
            training = read_corpus(folder, "train") if has_more else None
        except OSError as error:
            parser.error(f"{folder} is not in BEIR's layout: {error}")
        figures[corpus.name] = compare(corpus, training, settings, scorers, options.tune, console)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
