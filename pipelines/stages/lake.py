"""The stages of the lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.stages.stage import MOST_ROWS, Counts, Parameters, Progress, StageResult

if TYPE_CHECKING:
    from pipelines.lake.loads import HourLoad
    from pipelines.lineage import Run

SUMMARY = text("""
    SELECT day, devices, readings, errors, unhealthy_devices FROM gold.customer_summary
    WHERE day BETWEEN :first AND :last ORDER BY day""")


def bronze_to_silver(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    """Load the hours that changed, or those of the parameters."""
    from pipelines.lake.bronze_to_silver import load_silver
    from pipelines.lake.quarantine import quarantined
    from pipelines.lineage import Dataset

    tenant = Tenant(tenant_id)
    loads = load_silver(settings, tenant, parameters.hours or None, on_progress)
    names = ("objects", "records", "readings", "events", "telemetry_rows", "quarantined", "duplicates")
    totals = {name: sum(getattr(load, name) for load in loads) for name in names}
    counts: Counts = {"hours": len(loads), **totals}
    if not loads:
        return StageResult(counts)
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
        counts,
        [_row(load) for load in loads[-MOST_ROWS:]],
        quarantined(settings, tenant, bad) if bad else [],
    )


def _row(load: HourLoad) -> dict[str, Any]:
    """An hour in the artifact: of its days, which a wrong clock makes many, the first and the last."""
    days = load.days or (None,)
    return {**asdict(load), "days": len(load.days), "first_day": days[0], "last_day": days[-1]}


def silver_to_gold(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    """Score the days that changed, or those of the parameters."""
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
    run.outputs.append(Dataset("gold.failure_risk", report.forecasts, parts=parts[-1:]))
    run.outputs.append(Dataset("gold.service_events", parts=parts))
    with tenant_transaction(engine(settings.database), Tenant(tenant_id)) as connection:
        found = connection.execute(SUMMARY, {"first": report.days[0], "last": report.days[-1]})
        rows = [dict(row) for row in found.mappings()]
    counts |= {"first_day": parts[0], "last_day": parts[-1]}
    left = report.left and (
        f"{len(report.left)} changed days from {report.left[0]} to {report.left[-1]} were not scored: is a "
        "device's clock wrong? If not, `iotops flow backfill silver-to-gold` scores them"
    )
    return StageResult(counts, rows[-MOST_ROWS:], warnings=[left] if left else [])


def lake_maintenance(
    settings: Settings, tenant_id: str, parameters: Parameters, on_progress: Progress, run: Run
) -> StageResult:
    """Rid silver of what no reader needs, and Postgres of what is too old."""
    from iotops.audit import expire
    from pipelines.lake.maintenance import expire_rows, maintain
    from pipelines.lineage import Dataset

    done = maintain(settings, Tenant(tenant_id), on_progress)
    run.outputs += [Dataset(each.table) for each in done if each.snapshots or each.files]
    totals = {name: sum(getattr(each, name) for each in done) for name in ("snapshots", "files", "bytes")}
    expired = {"audit_rows": expire(settings.database, Tenant(tenant_id), settings.audit.keep_days)}
    expired |= expire_rows(settings, Tenant(tenant_id))
    return StageResult({**totals, **expired}, [asdict(each) for each in done])
