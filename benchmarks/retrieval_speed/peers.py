"""Peers that do hybrid search, over the same texts and vectors, taking turns: speed at known quality.

With the same cross-encoder they are compared a second time, over fewer questions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
from benchmarks.retrieval_speed.contenders.process import CHUNKS, LIMIT, QUERIES
from benchmarks.retrieval_speed.corpus import Model, sample
from benchmarks.retrieval_speed.scorer import UNTRAINED
from indexes.vector import Vectors
from iotops.models import ResolvedModel
from iotops.settings import Settings
from pipelines.knowledge.documents import Document

OURS = "iotops"
REQUIREMENTS = {
    "lancedb_peer": ("lancedb==0.40.0",),
    "txtai_peer": ("txtai==9.14.0",),
    "haystack_peer": HAYSTACK,
}
POSTGRES, NO_RERANKER = "postgres_peer", "it has no reranker"
ROUNDS = 3
RERANKED = 40  # questions: a cross-encoder takes a second for each


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


@dataclass(frozen=True)
class Task:
    """What this project and peers search, kept in the figures as `part`."""

    part: str
    peers: Sequence[str]
    chunks: pa.Table
    questions: pa.Table
    turn: int = 25
    """Questions that a contender answers before the next has its turn."""
    reranker: Path | None = None


def run(
    settings: Settings,
    model: Model,
    reads: ResolvedModel,
    folder: Path,
    limit: int,
    figures: Figures,
    console: Console,
) -> None:
    """Have all search in turn, then rerank as well by what `reads`; print and keep what was measured."""
    labelled = read_corpus(folder, "test")
    documents = judged_first(labelled, limit)
    with console.status(f"embedding {len(documents):,} documents"):
        corpus = model.embedded(documents)
        asked = model.encoder.encode(list(labelled.queries.values()))
    chunks = corpus.chunks.append_column("passage", pa.array(corpus.passages))
    chunks = chunks.append_column("vector", _column(corpus.vectors))
    questions = pa.table({"text": pa.array(labelled.queries.values()), "vector": _column(asked)})
    part = len(documents) / len(labelled.documents)
    note = f"{labelled.name}: {len(chunks):,} chunks of {part:.0%} of its documents, one client"

    plain = Task("peers", (*REQUIREMENTS, POSTGRES), chunks, questions)
    tell(plain, searched(settings, plain, figures, console), labelled, note, figures, console)

    few = questions.slice(0, RERANKED)
    reranked = Task("peers_reranked", (*REQUIREMENTS,), chunks, few, turn=5, reranker=reads.path)
    console.print(f"reranked without {POSTGRES}: {NO_RERANKER}")
    figures.add(reranked.part, POSTGRES, {"missing": NO_RERANKER})
    note += f"; {LIMIT} hits of {len(few)} questions reranked, {reads.name}"
    graded = None if reads.name == UNTRAINED else labelled
    tell(reranked, searched(settings, reranked, figures, console), graded, note, figures, console)


def searched(settings: Settings, task: Task, figures: Figures, console: Console) -> list[Searcher]:
    """This project and those of the peers that can be had, after they answered the questions in turn."""
    contenders = []
    with tempfile.TemporaryDirectory(prefix="peers-") as home, ExitStack() as running:
        place = Path(home)
        pq.write_table(task.chunks, place / CHUNKS)
        pq.write_table(task.questions, place / QUERIES)
        arguments = [str(task.reranker)] if task.reranker else []
        for name in (OURS, *task.peers):
            with console.status(f"{name}: installing and building"):
                try:
                    contender = started(settings, name, place, running, "process", *arguments)
                except (ContenderError, subprocess.SubprocessError) as error:
                    if name == OURS:
                        raise
                    console.print(f"without {name}: {error}")
                    figures.add(task.part, name, {"missing": str(error)})
                else:
                    contenders.append(running.enter_context(contender))
        with console.status("searching in turn"):
            take_turns(contenders, task)
    return contenders


def tell(
    task: Task,
    contenders: list[Searcher],
    labelled: Labelled | None,
    title: str,
    figures: Figures,
    console: Console,
) -> None:
    """Print and keep what the contenders took, and where there are labels how good it was."""
    doc_ids = task.chunks["doc_id"].to_pylist()
    shown = Table("", "build s", "p50", "p95", "p99 ms", "/s", "of ours", "nDCG@10", title=title)
    ours = np.array(contenders[0].milliseconds)
    for contender in contenders:
        spent = contender.milliseconds
        found = {
            "chunks": len(doc_ids), "documents": len({*doc_ids}), "questions": len(task.questions),
            "build_s": contender.ready["ready_s"], "per_s": 1000 / float(np.mean(spent)),
            "of_ours": float(np.median(ours / spent)), **latencies(spent),
        }  # fmt: skip
        row = [contender.name.removesuffix("_peer"), f"{found['build_s']:.1f}", *cells(found)]
        row += [f"{found['per_s']:.1f}", f"{found['of_ours']:.2f}"]
        if labelled:
            found["ndcg_10"] = quality(contender.rows, labelled, doc_ids)
            row.append(f"{found['ndcg_10']:.3f}")
        figures.add(task.part, contender.name, found)
        shown.add_row(*row)
    console.print(shown)


def judged_first(labelled: Labelled, limit: int) -> list[Document]:
    """At most `limit` documents, or all that answer a question where those are more."""
    judged = {name for grades in labelled.qrels.values() for name in grades}
    chosen = [document for document in labelled.documents if document.doc_id in judged]
    rest = [document for document in labelled.documents if document.doc_id not in judged]
    return chosen + sample(rest, max(0, limit - len(chosen)))


def take_turns(contenders: list[Searcher], task: Task) -> None:
    """All the questions in several rounds, a few at a time by each; the first round warms up."""
    count = len(task.questions)
    for number in range(ROUNDS + 1):
        for first in range(0, count, task.turn):
            for contender in contenders:
                contender.answer(first, min(first + task.turn, count), timed=number > 0)


def quality(rows: Mapping[int, list[int]], labelled: Labelled, doc_ids: list[str]) -> float:
    """nDCG@10 of the documents of the chunks found, over the questions that were asked."""
    run: dict[str, dict[str, float]] = {}
    queries = list(labelled.queries)
    for at, found in rows.items():
        documents = dict.fromkeys(doc_ids[row] for row in found)
        run[queries[at]] = {document: 1 / rank for rank, document in enumerate(documents, start=1)}
    qrels = {query: labelled.qrels[query] for query in run}
    means = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)
    return float(means[nDCG @ 10])


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
