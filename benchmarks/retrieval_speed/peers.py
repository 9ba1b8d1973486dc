"""Peers that do hybrid search, over the same texts and vectors, taking turns: speed at known quality."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ir_measures import nDCG
from rich.console import Console
from rich.table import Table

from benchmarks.contender import HAYSTACK, SILENT, Contender, ContenderError, installed
from benchmarks.figures import Figures, cells, latencies
from benchmarks.retrieval.beir import Corpus as Labelled
from benchmarks.retrieval.beir import read_corpus
from benchmarks.retrieval_speed.contenders import postgres_peer
from benchmarks.retrieval_speed.contenders.process import CHUNKS, QUERIES
from benchmarks.retrieval_speed.corpus import Model, sample
from indexes.vector import Vectors
from iotops.settings import Settings
from pipelines.knowledge.documents import Document

OURS = "iotops"
REQUIREMENTS = {
    "lancedb_peer": ("lancedb==0.40.0",),
    "txtai_peer": ("txtai==9.14.0",),
    "haystack_peer": HAYSTACK,
}
POSTGRES = "postgres_peer"
TURN = 25  # queries that a contender answers before the next has its turn
ROUNDS = 3


class Searcher(Contender):
    """A contender that has built its index, and what it answered."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, command, log, environment)
        self.milliseconds: list[float] = []
        self.rows: dict[int, list[int]] = {}

    def answer(self, first: int, last: int, timed: bool) -> None:
        """Have it search some of the queries."""
        answer = self.asked([first, last])
        self.rows |= dict(zip(range(first, last), answer["rows"], strict=True))
        if timed:
            self.milliseconds += answer["ms"]


def run(
    settings: Settings, model: Model, folder: Path, limit: int, figures: Figures, console: Console
) -> None:
    """Build all, have them search in turn; print and keep what was measured."""
    labelled = read_corpus(folder, "test")
    documents = judged_first(labelled, limit)
    with console.status(f"embedding {len(documents):,} documents"):
        corpus = model.embedded(documents)
        asked = model.encoder.encode(list(labelled.queries.values()))
    doc_ids = corpus.chunks["doc_id"].to_pylist()
    part = len(documents) / len(labelled.documents)
    note = f"{labelled.name}: {len(doc_ids):,} chunks of {part:.0%} of its documents, one client"
    with tempfile.TemporaryDirectory(prefix="peers-") as home, ExitStack() as running:
        place = Path(home)
        extra = [("passage", pa.array(corpus.passages)), ("vector", _column(corpus.vectors))]
        chunks = corpus.chunks
        for name, column in extra:
            chunks = chunks.append_column(name, column)
        pq.write_table(chunks, place / CHUNKS)
        texts = pa.array(labelled.queries.values())
        pq.write_table(pa.table({"text": texts, "vector": _column(asked)}), place / QUERIES)
        contenders = []
        for name in (OURS, *REQUIREMENTS, POSTGRES):
            with console.status(f"{name}: installing and building"):
                try:
                    contenders.append(running.enter_context(started(settings, name, place, running)))
                except (ContenderError, subprocess.SubprocessError) as error:
                    console.print(f"without {name}: {error}")
                    figures.add("peers", name, {"missing": str(error)})
        with console.status("searching in turn"):
            take_turns(contenders, len(labelled.queries))
    shown = Table("", "build s", "p50", "p95", "p99 ms", "/s", "nDCG@10", title=note)
    for contender in contenders:
        spent = contender.milliseconds
        found = {
            "chunks": len(doc_ids), "documents": len(documents), "build_s": contender.ready["ready_s"],
            "per_s": 1000 / float(np.mean(spent)), "ndcg_10": quality(contender, labelled, doc_ids),
            **latencies(spent),
        }  # fmt: skip
        figures.add("peers", contender.name, found)
        row = (contender.name.removesuffix("_peer"), f"{contender.ready['ready_s']:.1f}", *cells(found))
        shown.add_row(*row, f"{found['per_s']:.1f}", f"{found['ndcg_10']:.3f}")
    console.print(shown)


def judged_first(labelled: Labelled, limit: int) -> list[Document]:
    """At most `limit` documents, or all that answer a question where those are more."""
    judged = {name for grades in labelled.qrels.values() for name in grades}
    chosen = [document for document in labelled.documents if document.doc_id in judged]
    rest = [document for document in labelled.documents if document.doc_id not in judged]
    return chosen + sample(rest, max(0, limit - len(chosen)))


def take_turns(contenders: list[Searcher], queries: int) -> None:
    """All the queries in several rounds, a few at a time by each; the first round warms up."""
    for number in range(ROUNDS + 1):
        for first in range(0, queries, TURN):
            for contender in contenders:
                contender.answer(first, min(first + TURN, queries), timed=number > 0)


def quality(contender: Searcher, labelled: Labelled, doc_ids: list[str]) -> float:
    """nDCG@10 of the documents of the chunks found."""
    run: dict[str, dict[str, float]] = {}
    for at, query in enumerate(labelled.queries):
        documents = dict.fromkeys(doc_ids[row] for row in contender.rows[at])
        run[query] = {document: 1 / rank for rank, document in enumerate(documents, start=1)}
    found = ir_measures.calc_aggregate([nDCG @ 10], labelled.qrels, run)
    return float(found[nDCG @ 10])


def started(
    settings: Settings, name: str, place: Path, running: ExitStack, what: str = "process", *arguments: str
) -> Searcher:
    """A contender that has done what its module of `contenders` does first."""
    python, environment = sys.executable, SILENT
    if name in REQUIREMENTS:
        python = str(installed(settings.home / "benchmarks" / "peers", *REQUIREMENTS[name]))
    elif name == POSTGRES:
        if not postgres_peer.available():
            raise ContenderError("the embedded Postgres has no pgvector")
        environment = running.enter_context(postgres())
    module = f"benchmarks.retrieval_speed.contenders.{what}"
    command = [python, "-m", module, name, str(place), *arguments]
    return Searcher(name, command, place / f"{name}.log", environment)


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """The embedded Postgres on a port and in a folder of its own; the environment that names it."""
    from iotops.stack.files import home_folder, write_home_settings
    from iotops.stack.postgres import SUPERUSER, Postgres
    from tests.embedded import stack_settings

    with tempfile.TemporaryDirectory(prefix="peers-postgres-") as home, stack_settings(Path(home)) as given:
        Path(home).chmod(0o755)  # Postgres runs as another account where this one is root
        home_folder(given.home)
        settings = write_home_settings(given)
        server = Postgres(settings)
        server.start()
        try:
            password = settings.stack.postgres_password.get_secret_value()
            yield postgres_peer.environment("127.0.0.1", settings.stack.postgres_port, SUPERUSER, password)
        finally:
            server.stop()


def _column(vectors: Vectors) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
