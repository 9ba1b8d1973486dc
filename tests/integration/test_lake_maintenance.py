"""What is removed from the silver tables, and what never is, on the real catalog and object store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import iceberg_catalog, lake_filesystem, objects
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake import maintenance
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.maintenance import ORPHAN_AGE, SNAPSHOT_AGE, expire_rows, held_files, maintain
from pipelines.lake.silver_tables import PROPERTIES
from pipelines.stages import Parameters, run_stage
from tests.integration.test_lake import DAYS, FIRST, put_object, readings, silver


@pytest.fixture
def tenant(settings: Settings) -> Tenant:
    """A tenant whose one hour was loaded three times over."""
    tenant = Tenant("upkeep")
    create_tenant(settings, tenant)
    put_object(settings, tenant.telemetry_topic, FIRST, [*readings(DAYS), '{"broken"'], 0)
    for _ in range(3):
        load_silver(settings, tenant, [FIRST])
    return tenant


def test_old_snapshots_go_with_their_files_and_live_files_stay(
    settings: Settings, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = iceberg_catalog(settings.lake, settings.database)

    def stored() -> set[str]:
        found = objects(lake_filesystem(settings.lake), f"{tenant.prefix('silver')}/telemetry")
        return {f"s3://{settings.lake.bucket}/{path}" for path in found}

    before, rows = stored(), silver(settings, tenant, "telemetry").num_rows
    young = run_stage("lake-maintenance", settings, tenant.id, Parameters(), lambda message: None)
    nothing = dict.fromkeys(
        ("snapshots", "files", "bytes", "audit_rows", "pipeline_runs", "alert_messages"), 0
    )
    assert (young.counts, stored()) == (nothing, before)
    monkeypatch.setattr(maintenance, "SNAPSHOTS", 2)
    (telemetry, *_) = maintain(settings, tenant, now=datetime.now(UTC) + SNAPSHOT_AGE + ORPHAN_AGE)
    table = catalog.load_table(telemetry.table)
    assert len(table.snapshots()) == 2
    assert telemetry.snapshots > 0
    assert (telemetry.files, stored() - before) == (len(before - stored()), {table.metadata_location})
    assert stored() == set(held_files(table))
    assert silver(settings, tenant, "telemetry").num_rows == rows
    load_silver(settings, tenant, [FIRST])
    assert silver(settings, tenant, "telemetry").num_rows == rows


def test_old_runs_and_messages_go_and_those_that_wait_stay(settings: Settings) -> None:
    tenant = Tenant("upkeep_rows")
    create_tenant(settings, tenant)
    insert = text("""
        WITH runs AS (
            INSERT INTO gold.pipeline_runs (tenant_id, run_id, job, state, started_at, code_version)
            SELECT :tenant, gen_random_uuid(), '', 'COMPLETE', now() - make_interval(days => :runs + age), ''
            FROM unnest(ARRAY[-1, 1]) age)
        INSERT INTO ingest.alert_messages (tenant_id, alert_id, status, published_at)
        SELECT :tenant, gen_random_uuid(), 'open', now() - make_interval(days => :messages + age)
        FROM unnest(ARRAY[-1, 1, NULL]) age""")
    kept = {"runs": settings.audit.keep_days, "messages": settings.ingest.hot_days}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(insert, {"tenant": tenant.id, **kept})
    assert expire_rows(settings, tenant) == {"pipeline_runs": 1, "alert_messages": 1}
    assert expire_rows(settings, tenant) == {"pipeline_runs": 0, "alert_messages": 0}


def test_loads_merge_their_manifests(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROPERTIES, "commit.manifest.min-count-to-merge", "3")
    tenant = Tenant("manifests")
    create_tenant(settings, tenant)
    sent, hours = readings(DAYS), [FIRST + timedelta(hours=number) for number in range(4)]
    for number, hour in enumerate(hours):
        put_object(settings, tenant.telemetry_topic, hour, sent[number::4], number * 1000)
        load_silver(settings, tenant)
    table = iceberg_catalog(settings.lake, settings.database).load_table(f"{tenant.id}.telemetry")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(table.io)) == 2, "one of the first three loads, and one of the fourth"
    put_object(settings, tenant.telemetry_topic, hours[1], sent[1::4][:-1], 1000)
    load_silver(settings, tenant)
    rows = silver(settings, tenant, "telemetry")
    assert rows.num_rows == 2 * (len(sent) - 1)
    assert len(rows.group_by(["device_id", "ts", "metric"]).aggregate([])) == rows.num_rows
