"""A tenant's index with weights fitted to the questions that the tenant has labelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from indexes.precedents import Precedents
from indexes.snapshot import Fusion, Manifest, Snapshot
from iotops.lake import lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.evaluation.calibration import Calibration
from pipelines.evaluation.evaluate import documents_in
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.labelled import LabelsRefused, fitting_set, set_names
from pipelines.evaluation.reranking import Verdict
from pipelines.evaluation.weights import fitted_fusion, fitted_reranker, precedents_of, reranker_of
from pipelines.knowledge.build import calibrate
from pipelines.knowledge.enrichment import current_snapshots, indexes_and_vectors

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Fitting:
    """What was fitted, and the index that has it, where it is new."""

    fusion: Calibration | None
    """None where the questions are too few to say."""
    reranker: Verdict | None
    """None where they are too few, or there is no reranker."""
    precedents: int
    """Labelled questions that steer searches, one for each document that answers them."""
    published: Manifest | None

    def __str__(self) -> str:
        told = "published as " + self.published.snapshot_id if self.published else "as they were"
        return (
            f"weights {told}; fusion: {self.fusion or 'too few questions'}; "
            f"precedents: {self.precedents}; reranker: {self.reranker or 'none'}"
        )


def fit_index(
    settings: Settings,
    tenant: Tenant,
    on_progress: Progress = lambda message: None,
    now: datetime | None = None,
) -> Fitting | None:
    """Choose the weights of the tenant's index by its labelled questions, and publish them where they win.

    The questions become the precedents of its searches where these win, and are none any more once they are
    gone. None where the tenant has no index or no question. Nothing is published where all stays. The shared
    index is searched too, but keeps its weights: other tenants ask it other things.
    """
    snapshots = current_snapshots(settings, tenant)
    questions = labelled_questions(settings, tenant, list(snapshots.values()))
    held = snapshots.get(tenant.id)
    if held is None or not (questions or held.precedents):
        return None
    on_progress(f"fitting the weights to {len(questions)} labelled questions")
    texts = [question.text for question in questions]
    indexes, encoded = indexes_and_vectors(settings, list(snapshots.values()), texts)
    vectors = dict(zip(texts, encoded, strict=True))
    before = held.manifest
    calibration = fitted_fusion(indexes, questions, vectors, now or datetime.now(UTC))
    fusion = calibration.fusion if calibration else before.fusion
    scorer = reranker_of(settings, tenant.id, before)
    verdict = fitted_reranker(indexes, questions, vectors, scorer, fusion, on_progress) if scorer else None
    weight = _weight(before, verdict)
    precedents = precedents_of(questions, vectors) if fusion.precedent else Precedents()
    published = None
    same = (fusion, weight) == (before.fusion, before.reranker_weight)
    if not same or not precedents.same(held.precedents):
        published = _publish(settings, tenant, fusion, weight, precedents)
    return Fitting(calibration, verdict, len(precedents), published)


def labelled_questions(settings: Settings, tenant: Tenant, snapshots: list[Snapshot]) -> list[Question]:
    """What the tenant's labelled sets have to fit to; a set that cannot be used is left out."""
    lake, found = lake_filesystem(settings.lake), []
    documents = documents_in(pa.concat_tables(each.searched for each in snapshots)) if snapshots else {}
    for name in set_names(lake, tenant):
        try:
            found += fitting_set(lake, tenant, name, documents)
        except LabelsRefused:
            continue  # the evaluation says why
    return found


def _weight(before: Manifest, verdict: Verdict | None) -> float:
    """The reranker's share: what was chosen where it wins, none where it does not."""
    if verdict is None:
        return before.reranker_weight
    return verdict.weight if verdict.wins else 0.0


def _publish(
    settings: Settings, tenant: Tenant, fusion: Fusion, weight: float, precedents: Precedents
) -> Manifest:
    lake, cache = lake_filesystem(settings.lake), settings.home / "index-cache"
    return calibrate(lake, tenant.id, cache, reranker_weight=weight, fusion=fusion, precedents=precedents)
