"""A tenant's index with weights fitted to the questions that the tenant has labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from indexes.cross_encoder import RelevanceScorer
from indexes.hybrid import HybridIndex
from indexes.precedents import Precedents
from indexes.snapshot import Fusion, Manifest, Snapshot
from indexes.vector import Vectors
from iotops.lake import lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.alone import INDEXING, alone
from pipelines.evaluation.calibration import Calibration
from pipelines.evaluation.evaluate import documents_in
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.labelled import fitting_sets
from pipelines.evaluation.reranking import Verdict
from pipelines.evaluation.weights import fitted_fusion, fitted_reranker, precedents_of, reranker_of
from pipelines.knowledge.build import calibrate
from pipelines.knowledge.enrichment import current_snapshots, indexes_and_vectors

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What labelled questions choose for an index."""

    calibration: Calibration | None
    """None where the questions are too few to say."""
    verdict: Verdict | None
    """None where they are too few, or there is no reranker."""
    fusion: Fusion
    reranker_weight: float
    precedents: Precedents


@dataclass(frozen=True)
class Fitting:
    """What was fitted, and the index that has it, where it is new."""

    choice: Choice
    refused: list[str]
    """Labelled sets that cannot be used, while which the precedents stay as they were."""
    published: Manifest | None

    def __str__(self) -> str:
        told = "published as " + self.published.snapshot_id if self.published else "as they were"
        kept = f", as they were: {', '.join(self.refused)} cannot be used" if self.refused else ""
        return (
            f"weights {told}; fusion: {self.choice.calibration or 'too few questions'}; "
            f"precedents: {len(self.choice.precedents)}{kept}; reranker: {self.choice.verdict or 'none'}"
        )


def fit_index(
    settings: Settings,
    tenant: Tenant,
    on_progress: Progress = lambda message: None,
    now: datetime | None = None,
) -> Fitting | None:
    """Choose the weights of the tenant's index by its labelled questions, and publish them where they win.

    The questions become the precedents of its searches where these win, and are none any more once they are
    gone; while a labelled set cannot be used, they and their weight stay. None where the tenant has no index,
    no question, or an index of another embedding model. Nothing is published where all stays. The shared
    index is searched too, but keeps its weights: other tenants ask it other things.
    """
    snapshots = current_snapshots(settings, tenant)
    questions, refused = labelled_questions(settings, tenant, list(snapshots.values()))
    held = snapshots.get(tenant.id)
    if held is None or not (questions or held.precedents):
        return None
    on_progress(f"fitting the weights to {len(questions)} labelled questions")
    texts = [question.text for question in questions]
    indexes, encoded = indexes_and_vectors(settings, list(snapshots.values()), texts)
    vectors = dict(zip(texts, encoded, strict=True))
    before, scorer = held.manifest, reranker_of(settings, tenant.id, held.manifest)
    now = now or datetime.now(UTC)
    choice = choose(indexes, questions, vectors, scorer, now, keep=bool(refused), on_progress=on_progress)
    if choice is None:
        return None
    published = None
    same = (choice.fusion, choice.reranker_weight) == (before.fusion, before.reranker_weight)
    if not same or not choice.precedents.same(held.precedents):
        with alone(settings, INDEXING, tenant.id, on_progress):
            published = _publish(settings, tenant, choice)
    return Fitting(choice, refused, published)


def choose(
    indexes: Sequence[HybridIndex],
    questions: Sequence[Question],
    vectors: Mapping[str, Vectors],
    scorer: RelevanceScorer | None,
    now: datetime,
    *,
    keep: bool = False,
    on_progress: Progress = lambda message: None,
) -> Choice | None:
    """What the questions, with vectors (d,) by their text, choose for the first index.

    `keep` leaves the precedents and their weight as they are held. None where another model than the
    questions' embedded the index.
    """
    if not indexes[0].comparable:
        return None
    held = indexes[0].snapshot
    calibration = fitted_fusion(indexes, questions, vectors, now)
    fusion = calibration.fusion if calibration else held.manifest.fusion
    verdict = fitted_reranker(indexes, questions, vectors, scorer, fusion, on_progress) if scorer else None
    if keep:
        fusion, precedents = _with_precedent(fusion, held.manifest.fusion.precedent), held.precedents
    elif calibration and fusion.precedent:
        precedents = precedents_of(questions, vectors)
    else:  # a weight that was not measured with any must not wait for them
        precedents = Precedents()
        fusion = _with_precedent(fusion, 0.0) if held.precedents else fusion
    return Choice(calibration, verdict, fusion, _weight(held.manifest, verdict), precedents)


def labelled_questions(
    settings: Settings, tenant: Tenant, snapshots: list[Snapshot]
) -> tuple[list[Question], list[str]]:
    """What the tenant's labelled sets have to fit to, and the names of the sets that cannot be used."""
    documents = documents_in(pa.concat_tables(each.searched for each in snapshots)) if snapshots else {}
    return fitting_sets(lake_filesystem(settings.lake), tenant, documents)


def _with_precedent(fusion: Fusion, weight: float) -> Fusion:
    return fusion.model_copy(update={"precedent": weight})


def _weight(before: Manifest, verdict: Verdict | None) -> float:
    """The reranker's share: what was chosen where it wins, none where it does not."""
    if verdict is None:
        return before.reranker_weight
    return verdict.weight if verdict.wins else 0.0


def _publish(settings: Settings, tenant: Tenant, choice: Choice) -> Manifest:
    return calibrate(
        lake_filesystem(settings.lake),
        tenant.id,
        settings.home / "index-cache",
        reranker_weight=choice.reranker_weight,
        fusion=choice.fusion,
        precedents=choice.precedents,
    )
