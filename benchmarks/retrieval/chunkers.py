"""`python -m benchmarks.retrieval.chunkers DIR...`: what a way to cut documents does to what is found.

Each corpus is cut in each way, embedded, indexed and searched as the product does without a reranker. A
folder is in BEIR's layout, or holds Markdown, on which questions are made (`passages`). Intervals of 95 %
come from resampling the questions; those of a difference to the product's chunker compare the two on each
question.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from benchmarks.retrieval.beir import read_corpus
from benchmarks.retrieval.chunk_quality import Embedding, interval, measured
from benchmarks.retrieval.chunks import chunkers
from benchmarks.retrieval.passages import Labelled, of_beir, of_markdown
from indexes.encoder import SentenceEncoder
from iotops.models import resolve_role
from iotops.settings import get_settings
from pipelines.knowledge.chunking import CHUNKER
from pipelines.knowledge.shelf import embedding_model


def compare(corpus: Labelled, embedding: Embedding, console: Console) -> dict[str, Any]:
    """Cut a corpus in each way, print the table; the figures."""
    found = {}
    vectors = embedding.encode([each.text for each in corpus.questions])
    for name, chunk in chunkers(embedding.model, embedding.tokenizer, embedding.encode).items():
        embedding.seconds = 0.0
        with console.status(f"{corpus.name}: {name}"):
            found[name] = measured(corpus.questions, vectors, chunk(corpus.documents), embedding)
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
