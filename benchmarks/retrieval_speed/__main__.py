"""`python -m benchmarks.retrieval_speed [PART...]`: how fast retrieval is, alone, served and beside peers."""

from __future__ import annotations

import argparse
from pathlib import Path

import httpx
from rich.console import Console

from benchmarks.figures import Figures
from benchmarks.retrieval_speed import changes, embedding, peers, search, served, shards, vectors
from benchmarks.retrieval_speed.corpus import Corpus, Model, read_documents, sample
from benchmarks.retrieval_speed.scorer import reranker
from indexes.cross_encoder import RelevanceScorer
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant

PARTS = ("search", "peers", "embedding", "changes", "vectors", "shards")
WITHOUT_TEXTS = {"changes", "vectors"}


def main() -> None:
    """Measure the parts that are asked for; print and write the figures."""
    options = parsed()
    console, figures, settings = Console(), Figures(options.json), get_settings()
    parts = options.parts or PARTS
    if "vectors" in parts:
        vectors.run(options.vectors, options.kind, figures, console)
    if "changes" in parts and options.tenant and is_served(settings, console):
        changes.run(settings, Tenant(options.tenant), figures, console)
    if {*parts} <= WITHOUT_TEXTS:
        return
    model = Model.load(settings)
    if {"search", "shards"} & {*parts}:
        real = embedded(model, options.documents, options.embed, console)
    if "shards" in parts:
        shards.run(model, real, options.sizes[0], options.queries, figures, console)
    if "embedding" in parts:
        documents = sample(read_documents(options.documents), options.embed)
        embedding.run(settings, model, documents, figures, console)
    if "peers" in parts:
        with reranker(settings, console) as reads:
            for folder in (each for each in options.documents if (each / "corpus.jsonl").is_file()):
                peers.run(settings, model, reads, folder, options.embed, figures, console)
    if "search" in parts:
        through = settings if is_served(settings, console) else None
        with reranker(settings, console) as reads:
            scorer = RelevanceScorer(reads)
            search.run(model, real, options.sizes, options.queries, through, scorer, figures, console)
        if through and options.tenant:
            served.run(settings, model, Tenant(options.tenant), options.queries, figures, console)


def parsed() -> argparse.Namespace:
    """The command's options, checked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval_speed")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--documents", nargs="+", type=Path, default=[], metavar="DIR",
        help="folders of Markdown or in BEIR's layout; peers need one of the latter",
    )  # fmt: skip
    parser.add_argument("--embed", type=int, default=2000, help="documents to embed at most")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000], help="chunks to search")
    parser.add_argument("--queries", type=int, default=200, help="of `search` and `shards`")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="vectors of `vectors`")
    parser.add_argument(
        "--kind", choices=("flat", "hnsw", "ivfpq"), help="of index; default: by their number"
    )
    parser.add_argument("--tenant", help="whose shelf to search through Serve as well, and to change")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    if unknown := {*options.parts} - {*PARTS}:
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    if {*(options.parts or PARTS)} - WITHOUT_TEXTS and not options.documents:
        parser.error("--documents names no folder: all but `changes` and `vectors` needs real texts")
    return options


def embedded(model: Model, folders: list[Path], limit: int, console: Console) -> Corpus:
    """The real chunks."""
    documents = sample(read_documents(folders), limit)
    with console.status(f"embedding {len(documents):,} documents"):
        return model.embedded(documents)


def is_served(settings: Settings, console: Console) -> bool:
    """Whether the copilot answers; if not, why."""
    try:
        httpx.get(f"{settings.serve.url}/healthz", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        console.print(f"not through Serve at {settings.serve.url}: {error}")
        return False
    return True


if __name__ == "__main__":
    main()
