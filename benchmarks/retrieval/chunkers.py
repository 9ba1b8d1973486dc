"""`python -m benchmarks.retrieval.chunkers DIR...`: what a way to cut documents does to what is found.

Each corpus is cut in each way, embedded, indexed and searched as the product does without a reranker. A
folder is in BEIR's layout, or holds Markdown, on which questions are made (`passages`). A passage is found
where a chunk's span covers its middle. Intervals of 95 % come from resampling the questions; those of a
difference to the product's chunker compare the two on each question.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from benchmarks.retrieval.beir import read_corpus
from benchmarks.retrieval.chunks import chunkers
from benchmarks.retrieval.passages import Asked, Labelled, of_beir, of_markdown
from benchmarks.retrieval.systems import DEPTH, indexed
from indexes.encoder import SentenceEncoder
from indexes.hits import Hit
from indexes.hybrid import HybridIndex, search_all
from indexes.schema import passage
from indexes.vector import Vectors
from iotops.models import resolve_role
from iotops.settings import get_settings
from pipelines.evaluation.measures import ndcg, recall
from pipelines.knowledge.build import EmbeddingModel
from pipelines.knowledge.chunking import CHUNKER
from pipelines.knowledge.shelf import embedding_model

RESAMPLES = 2000
FIRST_HITS = 5
BUDGET = 1000
"""Tokens of passages that a small model is given: of small chunks it reads more."""

Values = NDArray[np.float64]


@dataclass
class Embedding:
    """The shelf's model, and the seconds that it spent."""

    model: EmbeddingModel
    encoder: SentenceEncoder
    tokenizer: Tokenizer
    seconds: float = 0.0

    def encode(self, texts: list[str]) -> Vectors:
        """Unit vectors (n, d)."""
        started = time.perf_counter()
        vectors = self.encoder.encode(texts)
        self.seconds += time.perf_counter() - started
        return vectors


def judged(asked: Asked, hits: list[Hit], tokens: dict[str, int]) -> dict[str, float]:
    """The measures of one question, each 0 to 1; of passages where their place is known."""
    documents = list(dict.fromkeys(hit.doc_id for hit in hits))
    found = {"ndcg@10": ndcg(documents, asked.grades), "recall@10": recall(documents, asked.grades)}
    if not asked.places:
        return found
    covering = (rank for rank, hit in enumerate(hits, start=1) if _covers(hit, asked))
    rank = next(covering, DEPTH + 1)
    read = sum(tokens[hit.chunk_id] for hit in hits[:rank])
    return found | {
        f"passage hit@{FIRST_HITS}": float(rank <= FIRST_HITS),
        "passage MRR@10": 1 / rank if rank <= 10 else 0.0,
        f"passage in {BUDGET} tokens": float(rank <= DEPTH and read <= BUDGET),
    }


def _covers(hit: Hit, asked: Asked) -> bool:
    return any(hit.doc_id == name and hit.start <= place < hit.end for name, place in asked.places)


def measured(corpus: Labelled, chunks: pa.Table, embedding: Embedding) -> dict[str, Any]:
    """What is found with these chunks: their number and size, and each measure's value for each question."""
    columns = (chunks[name].to_pylist() for name in ("title", "section", "text"))
    texts = [passage(*each) for each in zip(*columns, strict=True)]
    sizes = embedding.model.count_tokens(texts)
    tokens = dict(zip(chunks["chunk_id"].to_pylist(), sizes, strict=True))
    vectors = embedding.encode(texts)
    seconds = embedding.seconds
    asked = embedding.encoder.encode([each.text for each in corpus.questions])
    with indexed(chunks, vectors, embedding.model) as snapshot:
        index = HybridIndex(snapshot)
        rows = [
            judged(each, search_all([index], each.text, vector, DEPTH), tokens)
            for each, vector in zip(corpus.questions, asked, strict=True)
        ]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        "chunks": chunks.num_rows,
        "mean_tokens": float(np.mean(sizes)),
        "embed_seconds": seconds,
        "values": values,
    }


def interval(values: Values) -> dict[str, float]:
    """The mean over questions and its 95 % interval (percentile bootstrap)."""
    chosen = np.random.default_rng(1).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def compare(corpus: Labelled, embedding: Embedding, console: Console) -> dict[str, Any]:
    """Cut a corpus in each way, print the table; the figures."""
    found = {}
    for name, chunk in chunkers(embedding.model, embedding.tokenizer, embedding.encode).items():
        embedding.seconds = 0.0
        with console.status(f"{corpus.name}: {name}"):
            found[name] = measured(corpus, chunk(corpus.documents), embedding)
    product = found[CHUNKER]["values"]
    for figures in found.values():
        values = figures.pop("values")
        figures["measures"] = {measure: interval(each) for measure, each in values.items()}
        figures["difference"] = {
            measure: interval(each - product[measure]) for measure, each in values.items()
        }
    return {"documents": len(corpus.documents), "questions": len(corpus.questions), "chunkers": found}


def tables(name: str, figures: dict[str, Any], console: Console) -> None:
    """Print what was measured on a corpus, then the differences to the product's chunker."""
    measures = list(next(iter(figures["chunkers"].values()))["measures"])
    title = f"{name}: {figures['documents']:,} documents, {figures['questions']:,} questions"
    table = Table("", "chunks", "mean tokens", "embed (s)", *measures, title=title)
    differences = Table("", *measures, title=f"minus {CHUNKER}")
    for chunker, each in figures["chunkers"].items():
        cells = (_cell(each["measures"][measure]) for measure in measures)
        sizes = (f"{each['chunks']:,}", f"{each['mean_tokens']:.0f}", f"{each['embed_seconds']:.0f}")
        table.add_row(chunker, *sizes, *cells)
        if chunker != CHUNKER:
            differences.add_row(chunker, *(_cell(each["difference"][measure], "+") for measure in measures))
    console.print(table, differences)


def _cell(value: dict[str, float], sign: str = "") -> str:
    return f"{value['mean']:{sign}.3f} ({value['low']:{sign}.3f} to {value['high']:{sign}.3f})"


def main() -> None:
    """Compare on each folder; write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval.chunkers")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="BEIR's layout, or Markdown")
    parser.add_argument("--split", default="test", help="which qrels")
    parser.add_argument("--documents", type=int, metavar="N", help="so many of each corpus, all judged ones")
    parser.add_argument("--questions", type=int, metavar="N", help="so many on each corpus")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    settings, console = get_settings(), Console()
    role = resolve_role(settings, "embedder")
    tokenizer = Tokenizer.from_file(str(role.path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    embedding, figures = Embedding(embedding_model(settings), SentenceEncoder(role), tokenizer), {}
    for folder in options.folders:
        if (folder / "corpus.jsonl").exists():
            corpus = of_beir(read_corpus(folder, options.split), options.documents, options.questions)
        else:
            corpus = of_markdown(folder, options.documents, options.questions)
        if not corpus.questions:
            parser.error(f"{folder}: neither BEIR's layout nor Markdown that has headings")
        figures[corpus.name] = compare(corpus, embedding, console)
        tables(corpus.name, figures[corpus.name], console)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
