"""The stages of the pipelines: what a flow or an analyst has done on the cluster, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.provisioning import known_tenant
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX, Tenant
from pipelines.jobs.protocol import JobRefused

if TYPE_CHECKING:
    from pipelines.lineage import Run

Counts = dict[str, int | str]
Progress = Callable[[str], None]
MOST_ROWS = 500
"""Rows of an artifact's table at most, the newest."""

TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext(:name), hashtext(:tenant))")
LOCK = text("SELECT pg_advisory_xact_lock(hashtext(:name), hashtext(:tenant))")


@dataclass(frozen=True)
class Parameters:
    """What a stage is limited to: arrival hours or event days (UTC); nothing means what has changed."""

    hours: tuple[datetime, ...] = ()
    days: tuple[date, ...] = ()


@dataclass(frozen=True)
class StageResult:
    """What a stage did: totals by name, a row per part of the work, and what is in quarantine by reason."""

    counts: Counts
    rows: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """A stage: what runs it for a tenant, or, if `for_shared`, for the shelf that all tenants share."""

    description: str
    run: Callable[[Settings, str, Parameters, Progress, Run], StageResult]
    for_shared: bool = False
    takes: frozenset[str] = frozenset()
    """Which of the `Parameters` it knows."""


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


@contextmanager
def alone(settings: Settings, name: str, tenant_id: str, on_progress: Progress) -> Iterator[None]:
    """Nobody else does `name` for the tenant meanwhile; whoever dies lets go with its connection."""
    key = {"name": name, "tenant": tenant_id}
    with engine(settings.database).begin() as connection:
        if not connection.execute(TRY_LOCK, key).scalar_one():
            on_progress(f"waiting for another {name} of {tenant_id}")
            connection.execute(LOCK, key)
        yield


def _bronze_to_silver(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    from pipelines.lake.bronze_to_silver import load_silver
    from pipelines.lake.quarantine import quarantined
    from pipelines.lineage import Dataset

    tenant = Tenant(tenant_id)
    loads = load_silver(settings, tenant, parameters.hours or None, on_progress)
    names = ("objects", "records", "readings", "events", "telemetry_rows", "quarantined", "duplicates")
    totals = {name: sum(getattr(load, name) for load in loads) for name in names}
    parts = tuple(f"{load.arrival_hour:%Y-%m-%d/%H}" for load in loads)
    run.inputs.append(
        Dataset(f"{tenant.prefix('bronze')}/raw", totals["records"], files=totals["objects"], parts=parts)
    )
    written = {
        "telemetry": totals["telemetry_rows"],
        "events": totals["events"],
        "quarantine": totals["quarantined"],
    }
    for table, rows in written.items():
        run.outputs.append(Dataset(f"{tenant.id}.{table}", rows))
    bad = [load.arrival_hour for load in loads if load.quarantined]
    return StageResult(
        {"hours": len(loads), **totals},
        [asdict(load) for load in loads[-MOST_ROWS:]],
        quarantined(settings, tenant, bad) if bad else [],
    )


def _silver_to_gold(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    from pipelines.lake.silver_to_gold import build_gold
    from pipelines.lineage import Dataset

    report = build_gold(settings, Tenant(tenant_id), parameters.days or None, on_progress)
    counts: Counts = {
        "days": len(report.days),
        "scores": report.scores,
        "unhealthy_devices": report.unhealthy,
    }
    if not report.days:
        return StageResult(counts)
    parts = tuple(map(str, report.days))
    run.inputs += [Dataset(f"{tenant_id}.{table}") for table in ("telemetry", "events")]
    run.outputs.append(Dataset("gold.device_health", report.scores, parts=parts))
    run.outputs.append(Dataset("gold.device_health_components", parts=parts))
    run.outputs.append(Dataset("gold.customer_summary", len(report.days), parts=parts))
    with tenant_transaction(engine(settings.database), Tenant(tenant_id)) as connection:
        found = connection.execute(SUMMARY, {"first": report.days[0], "last": report.days[-1]})
        rows = [dict(row) for row in found.mappings()]
    counts |= {"first_day": parts[0], "last_day": parts[-1]}
    return StageResult(counts, rows[-MOST_ROWS:])


SUMMARY = text("""
    SELECT day, devices, readings, errors, unhealthy_devices FROM gold.customer_summary
    WHERE day BETWEEN :first AND :last ORDER BY day""")


def _doc_ingestion(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    on_progress("reading the shelf")
    from indexes.schema import shelf_prefix
    from pipelines.knowledge.shelf import index_shelf  # loads the embedding model's libraries
    from pipelines.lineage import Dataset

    report = index_shelf(settings, tenant_id)
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


def _enrichment(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
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


KNOWLEDGE = text("""
    SELECT error_code, method, confidence, title, section, uri, devices, events FROM gold.error_knowledge
    ORDER BY events DESC, error_code, confidence DESC LIMIT :most""")


STAGES = {
    "bronze-to-silver": Stage(
        "New and changed bronze objects to the silver tables of the lake.",
        _bronze_to_silver,
        takes=frozenset({"hours"}),
    ),
    "silver-to-gold": Stage(
        "Silver to the health scores and summaries in Postgres.", _silver_to_gold, takes=frozenset({"days"})
    ),
    "enrichment": Stage("The fleet's error codes and the articles that explain them.", _enrichment),
    "doc-ingestion": Stage("A shelf's documents to its published index.", _doc_ingestion, for_shared=True),
}
