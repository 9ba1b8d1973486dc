"""The stages by name, and running one."""

from __future__ import annotations

from dataclasses import asdict

from iotops.provisioning import known_tenant
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX
from pipelines.alone import alone
from pipelines.jobs.protocol import JobRefused
from pipelines.stages.knowledge import doc_ingestion, enrichment, rag_evaluation
from pipelines.stages.lake import bronze_to_silver, lake_maintenance, silver_to_gold
from pipelines.stages.stage import Parameters, Progress, Stage, StageResult

STAGES = {
    "bronze-to-silver": Stage(
        "New and changed bronze objects to the silver tables of the lake.",
        bronze_to_silver,
        takes=frozenset({"hours"}),
    ),
    "silver-to-gold": Stage(
        "Silver to the health scores and summaries in Postgres.", silver_to_gold, takes=frozenset({"days"})
    ),
    "lake-maintenance": Stage(
        "Old snapshots of the silver tables, files that none holds and old rows of the audit, of runs and of "
        "alerts' messages are removed.",
        lake_maintenance,
    ),
    "enrichment": Stage("The fleet's error codes and the articles that explain them.", enrichment),
    "doc-ingestion": Stage("A shelf's documents to its published index.", doc_ingestion, for_shared=True),
    "rag-evaluation": Stage("How well retrieval finds what a tenant's shelves hold.", rag_evaluation),
}


def run_stage(
    name: str, settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress
) -> StageResult:
    """Run a stage in this process, a driver on the cluster; its lineage is recorded.

    Two of the same stage and tenant never run at once, on however many machines: the second waits.
    Raises `TenantError` where there is no such tenant, `JobRefused` for a parameter that it does not take.
    """
    stage = STAGES[name]
    shared = stage.for_shared and tenant_id == SHARED_PREFIX
    owner = None if shared else known_tenant(settings, tenant_id)
    if unknown := {given for given, values in asdict(parameters).items() if values} - stage.takes:
        raise JobRefused(f"{name} takes no {', '.join(sorted(unknown))}")
    from pipelines.lineage import recorded

    with alone(settings, name, tenant_id, on_progress), recorded(settings, owner, job=name) as run:
        return stage.run(settings, tenant_id, parameters, on_progress, run)
