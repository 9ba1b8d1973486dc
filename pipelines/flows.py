"""The Prefect flows: bronze to silver, silver to gold, documents to index, each for one tenant.

Prefect reads its settings as it is imported: `flow_commands.run_flow` sets them before it imports this, a
scheduled run gets them from its worker. The flows read the platform's own settings where they run, so that
no secret is a parameter that Prefect would store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict
from datetime import date
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from iotops.settings import get_settings
from iotops.tenancy import Tenant
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.loads import HourLoad
from pipelines.lake.silver_to_gold import GoldReport, build_gold

Counts = dict[str, int | str]
STAGE: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "timeout_seconds": 3600,
    "cache_policy": NO_CACHE,
    "log_prints": True,
}
on_progress: ContextVar[Callable[[str], None] | None] = ContextVar("on_progress", default=None)
"""Told of each step by a flow that runs in this process; Prefect's log has the steps in any case."""


def _report(message: str) -> None:
    if follow := on_progress.get():
        follow(message)
    print(message)  # becomes a line of the run's log in Prefect


@task(name="load-silver", task_run_name="load-silver-{tenant}", **STAGE)  # type: ignore[untyped-decorator]
def load_silver_tables(tenant: str) -> list[HourLoad]:
    """Load the arrival hours that changed; safe to retry, since an hour's rows are replaced."""
    return load_silver(get_settings(), Tenant(tenant), on_progress=_report)


@task(name="build-gold", task_run_name="build-gold-{tenant}", **STAGE)  # type: ignore[untyped-decorator]
def build_gold_tables(tenant: str, days: list[date] | None) -> GoldReport:
    """Score the days; safe to retry, since rows are upserted."""
    return build_gold(get_settings(), Tenant(tenant), days, on_progress=_report)


@task(name="index-documents", task_run_name="index-documents-{tenant}", **STAGE)  # type: ignore[untyped-decorator]
def index_documents(tenant: str) -> Counts:
    """Build and publish the index of a shelf; safe to retry, since a snapshot is published whole."""
    from pipelines.knowledge.shelf import index_shelf  # loads the embedding model's libraries

    report = index_shelf(get_settings(), tenant)
    manifest = report.manifest
    return {
        "documents": manifest.documents if manifest else 0,
        "chunks": manifest.chunks if manifest else 0,
        "embedded": report.embedded,
        "refused": len(report.refused),
    }


@flow(name="bronze-to-silver", flow_run_name="bronze-to-silver-{tenant}", log_prints=True)  # type: ignore[untyped-decorator]
def bronze_to_silver(tenant: str) -> Counts:
    """Bring a tenant's silver tables to the state of bronze; what became of the records, by name."""
    loads = load_silver_tables(tenant)
    rows = [{name: str(value) for name, value in asdict(load).items()} for load in loads]
    _publish("bronze-to-silver", tenant, "What became of each arrival hour.", rows)
    names = ("objects", "records", "readings", "events", "telemetry_rows", "quarantined", "duplicates")
    totals: Counts = {name: sum(getattr(load, name) for load in loads) for name in names}
    return {"hours": len(loads)} | totals


@flow(name="silver-to-gold", flow_run_name="silver-to-gold-{tenant}", log_prints=True)  # type: ignore[untyped-decorator]
def silver_to_gold(tenant: str, days: list[date] | None = None) -> Counts:
    """Score a tenant's devices on the days that changed, or on `days`."""
    report = build_gold_tables(tenant, days)
    counts: Counts = {
        "days": len(report.days),
        "scores": report.scores,
        "unhealthy_devices": report.unhealthy,
    }
    if report.days:
        counts |= {"first_day": str(report.days[0]), "last_day": str(report.days[-1])}
    _publish("silver-to-gold", tenant, "Scores written to gold.device_health.", [counts])
    return counts


@flow(name="doc-ingestion", flow_run_name="doc-ingestion-{tenant}", log_prints=True)  # type: ignore[untyped-decorator]
def doc_ingestion(tenant: str) -> Counts:
    """Bring the index of a tenant, or of `shared`, up to date with its documents."""
    counts: Counts = index_documents(tenant)
    _publish("doc-ingestion", tenant, "The published index.", [counts])
    return counts


FLOWS = {flow.name: flow for flow in (bronze_to_silver, silver_to_gold, doc_ingestion)}


def _publish(name: str, tenant: str, description: str, rows: list[dict[str, Any]]) -> None:
    """Keep the counts with the run; an artifact's key has no underscore, a tenant's id may."""
    create_table_artifact(
        rows, key=f"{name}-{tenant.replace('_', '-')}", description=f"{description} Tenant {tenant}."
    )
