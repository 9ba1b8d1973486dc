"""How well retrieval finds what a tenant's shelves hold, by questions of which the answer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from indexes.hits import documents
from indexes.hybrid import HybridIndex, search_all
from indexes.snapshot import Snapshot
from indexes.vector import Vectors
from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.evaluation.evaluations_table import before, write
from pipelines.evaluation.keywords import keyword_searches
from pipelines.evaluation.known_items import Question, known_items
from pipelines.evaluation.labelled import MOST_SETS, LabelsRefused, read_set, set_names
from pipelines.evaluation.measures import Grades, Measures, measured
from pipelines.evaluation.ratings import Ratings, rate
from pipelines.knowledge.enrichment import current_snapshots, indexes_and_vectors

KNOWN_ITEMS, KEYWORDS = "known-item", "keywords"
CHUNKS = 100
"""Hits of a search: enough for ten documents where one has many, and the copilot's own are the first."""
MARGIN = 0.03
"""A fall of nDCG@10 by more is worth a person's look; less comes with a few exchanged questions."""


@dataclass(frozen=True)
class Evaluation:
    """The measures of a method on a set of questions, beside the week before."""

    method: str
    """`hybrid:known-item`: how it searches, and the questions' set."""
    measures: Measures
    ndcg_before: float | None = None

    @property
    def worse(self) -> bool:
        """Whether it fell by more than the margin."""
        return self.ndcg_before is not None and self.measures.ndcg_at_10 < self.ndcg_before - MARGIN

    def row(self) -> dict[str, Any]:
        """For the table on a run's page."""
        return {"method": self.method, **asdict(self.measures), "ndcg_before": self.ndcg_before}


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured, what of it is new in `gold.rag_evaluations`, and what a person should look at."""

    evaluations: list[Evaluation] = field(default_factory=list)
    changed: int = 0
    """Rows that were written."""
    snapshots: dict[str, str] = field(default_factory=dict)
    """Id of the searched index by its owner: the tenant, `shared`."""
    labelled: int = 0
    """Sets of the tenant's own that were used."""
    warnings: list[str] = field(default_factory=list)
    ratings: Ratings = field(default_factory=Ratings)
    """What people thought of the answers of the last seven days."""


def evaluate_retrieval(
    settings: Settings,
    tenant: Tenant,
    on_progress: Callable[[str], None] = lambda message: None,
    now: datetime | None = None,
) -> EvaluationReport:
    """Measure the retrieval of the tenant's own and the shared documents, and keep it in gold.

    The questions are known items and keywords of the shelves, and the tenant's labelled sets. Each is
    searched by words and vectors (`hybrid`, the copilot's order before a reranker) and by words alone
    (`bm25`, the copilot's way without an embedder). Documents rank by their best chunk. Doing it again in
    the same week with the same indexes changes nothing. Nothing is kept where there is nothing to search.
    What people thought of the answers of the last seven days is kept beside it.
    """
    now = now or datetime.now(UTC)
    snapshots = current_snapshots(settings, tenant)
    if not snapshots:
        return EvaluationReport()
    sets, refused = _question_sets(settings, tenant, list(snapshots.values()))
    total = sum(map(len, sets.values()))
    on_progress(f"{total} questions in {len(snapshots)} indexes")
    measures = _measures(settings, list(snapshots.values()), sets, now)
    ids = {owner: snapshot.manifest.snapshot_id for owner, snapshot in snapshots.items()}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        earlier = before(connection, now, measures)
        changed = write(connection, tenant, now, " ".join(ids.values()), measures)
        ratings = rate(connection, tenant, now)
    evaluations = [Evaluation(method, each, earlier.get(method)) for method, each in measures.items()]
    return EvaluationReport(
        evaluations,
        changed,
        ids,
        len(sets.keys() - {KNOWN_ITEMS, KEYWORDS}),
        refused + _falls(evaluations),
        ratings,
    )


def _question_sets(
    settings: Settings, tenant: Tenant, snapshots: Sequence[Snapshot]
) -> tuple[dict[str, list[Question]], list[str]]:
    """The questions by the name of their set, and why the tenant's other sets are refused."""
    chunks = pa.concat_tables(snapshot.searched for snapshot in snapshots)
    sets = {KNOWN_ITEMS: known_items(chunks), KEYWORDS: keyword_searches(chunks)}
    documents = documents_in(chunks)
    lake, refused = lake_filesystem(settings.lake), []
    names, left = set_names(lake, tenant)
    if left:
        refused.append(
            f"the labelled sets from {left[0]} on are not used, {MOST_SETS} are the most: join some"
        )
    for name in names:
        try:
            if name in sets:
                raise LabelsRefused(f"the labelled set {name} has a name of our own sets: give it another")
            sets[name] = read_set(lake, tenant, name, documents)
        except LabelsRefused as error:
            refused.append(str(error))
    return {name: questions for name, questions in sets.items() if questions}, refused


def documents_in(chunks: pa.Table) -> dict[str, str]:
    """URIs by `doc_id`; the tenant's own documents, which come first, before shared ones of the same id."""
    pairs = zip(chunks["doc_id"].to_pylist(), chunks["uri"].to_pylist(), strict=True)
    return dict(reversed(list(pairs)))


def _measures(
    settings: Settings,
    snapshots: Sequence[Snapshot],
    sets: Mapping[str, Sequence[Question]],
    now: datetime,
) -> dict[str, Measures]:
    """By method, `hybrid` and `bm25` of each set."""
    texts = [question.text for questions in sets.values() for question in questions]
    indexes, encoded = indexes_and_vectors(settings, snapshots, texts)
    vectors = iter(encoded)
    found: dict[str, Measures] = {}
    for name, questions in sets.items():
        hybrid: list[tuple[list[str], Grades]] = []
        words: list[tuple[list[str], Grades]] = []
        for question in questions:
            for judged, vector in ((hybrid, next(vectors)), (words, None)):
                ranking = ranked_documents(indexes, question.text, vector, now)
                judged.append((ranking, question.grades))
        found |= {f"hybrid:{name}": measured(hybrid), f"bm25:{name}": measured(words)}
    return found


def ranked_documents(
    indexes: Sequence[HybridIndex], query: str, vector: Vectors | None, now: datetime
) -> list[str]:
    """URIs of the found documents, each where its best chunk stands; as if the query were asked for the first
    time."""
    others = indexes[0].snapshot.precedents.without(query)
    return documents(search_all(indexes, query, vector, CHUNKS, precedents=others, now=now))


def _falls(evaluations: Sequence[Evaluation]) -> list[str]:
    return [
        f"nDCG@10 of {each.method} fell from {each.ndcg_before:.3f} in an earlier week to "
        f"{each.measures.ndcg_at_10:.3f}, by more than {MARGIN}: see what changed in documents and models"
        for each in evaluations
        if each.worse
    ]
