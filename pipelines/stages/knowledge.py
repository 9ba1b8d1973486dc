"""The stages of the knowledge: documents, what they explain, and how well they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.stages.stage import MOST_ROWS, Counts, Parameters, Progress, StageResult

if TYPE_CHECKING:
    from pipelines.lineage import Run

KNOWLEDGE = text("""
    SELECT error_code, method, confidence, title, section, uri, devices, events FROM gold.error_knowledge
    ORDER BY events DESC, error_code, confidence DESC LIMIT :most""")


def doc_ingestion(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    """Publish an index of the documents as they are."""
    from indexes.schema import shelf_prefix
    from pipelines.knowledge.shelf import index_shelf  # loads the embedding model's libraries
    from pipelines.lineage import Dataset

    report = index_shelf(settings, tenant_id, on_progress=on_progress)
    manifest = report.manifest
    counts: Counts = {
        "documents": manifest.documents if manifest else 0,
        "chunks": manifest.chunks if manifest else 0,
        "embedded": report.embedded,
        "refused": len(report.refused),
    }
    run.inputs.append(
        Dataset(shelf_prefix(tenant_id, "documents"), files=manifest.documents if manifest else 0)
    )
    if manifest:
        version = manifest.snapshot_id
        run.outputs.append(Dataset(shelf_prefix(tenant_id, "indexes"), manifest.chunks, version=version))
    refused = [{"document": path, "reason": reason} for path, reason in report.refused.items()]
    return StageResult(counts, refused[:MOST_ROWS] or [dict(counts)])


def enrichment(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    """Explain the fleet's error codes."""
    from indexes.schema import shelf_prefix
    from pipelines.knowledge.enrichment import enrich  # loads the embedding model's libraries
    from pipelines.lineage import Dataset

    report = enrich(settings, Tenant(tenant_id), on_progress)
    run.inputs.append(Dataset(f"{tenant_id}.events", report.events))
    for owner, snapshot in report.snapshots.items():
        run.inputs.append(Dataset(shelf_prefix(owner, "indexes"), version=snapshot))
    with tenant_transaction(engine(settings.database), Tenant(tenant_id)) as connection:
        rows = [dict(row) for row in connection.execute(KNOWLEDGE, {"most": MOST_ROWS}).mappings()]
    run.outputs.append(Dataset("gold.error_knowledge", report.articles + report.codes - report.explained))
    names = ("codes", "events", "explained", "articles", "changed")
    return StageResult({name: getattr(report, name) for name in names}, rows)


def rag_evaluation(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    """Measure retrieval on sets of questions."""
    on_progress("making questions")
    from indexes.schema import shelf_prefix
    from pipelines.evaluation.evaluate import evaluate_retrieval  # loads the embedding model's libraries
    from pipelines.evaluation.fitting import fit_index
    from pipelines.lineage import Dataset

    report = evaluate_retrieval(settings, Tenant(tenant_id), on_progress)
    run.inputs += [
        Dataset(shelf_prefix(owner, "indexes"), version=snapshot)
        for owner, snapshot in report.snapshots.items()
    ]
    if report.labelled:
        run.inputs.append(Dataset(shelf_prefix(tenant_id, "evaluation")))
    if report.evaluations:
        run.outputs.append(Dataset("gold.rag_evaluations", len(report.evaluations)))
    counts: Counts = {
        "evaluations": len(report.evaluations),
        "changed": report.changed,
        "warnings": len(report.warnings),
    }
    if report.ratings.ratings:
        counts["ratings"] = str(report.ratings)
        run.inputs.append(Dataset("platform.feedback", report.ratings.ratings))
        run.outputs.append(Dataset("gold.answer_ratings", 1))
    fitting = fit_index(settings, Tenant(tenant_id), on_progress)
    if fitting:
        counts["fitting"] = str(fitting)
    if fitting and fitting.published:
        version = fitting.published.snapshot_id
        run.outputs.append(Dataset(shelf_prefix(tenant_id, "indexes"), version=version))
    return StageResult(counts, [each.row() for each in report.evaluations], warnings=report.warnings)
