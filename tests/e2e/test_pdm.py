"""The Azure predictive-maintenance sample through the whole way of the data: the counts agree everywhere."""

from __future__ import annotations

import asyncio
import gzip
import time
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import get, iceberg_catalog, lake_filesystem, objects
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.flow_commands import run_flow
from pipelines.ingest.replay import METRICS, replay

TENANT = Tenant("pdm")
READINGS, ERRORS = 21_600, 100
POSTGRES = text("""
    SELECT (SELECT count(*) FROM silver.telemetry), (SELECT count(*) FROM silver.events WHERE type = 'error'),
           (SELECT count(DISTINCT device_id) FROM silver.telemetry)""")
GOLD = text("""
    SELECT sum(readings)::bigint, sum(errors)::bigint, count(DISTINCT device_id), min(score), max(score)
    FROM gold.device_health""")


@pytest.mark.timeout(600)
def test_counts_agree_in_bronze_postgres_iceberg_and_gold(settings: Settings, demo: str, pdm: Path):
    create_tenant(settings, TENANT)
    report = asyncio.run(replay(settings, TENANT, pdm))
    assert (report.readings, report.rejected) == (READINGS, 0)
    sent = report.readings + report.events
    deadline = time.monotonic() + 120
    while len(bronze := _bronze(settings)) < sent or _postgres(settings)[0] < READINGS:
        assert time.monotonic() < deadline, f"the sinks stored {len(bronze)} of {sent}"
        time.sleep(1)
    for flow in ("bronze-to-silver", "silver-to-gold"):
        run_flow(flow, TENANT.id)
    postgres, iceberg, gold = _postgres(settings), _iceberg(settings), _gold(settings)
    bronze_readings = sum("metrics" in record for record in bronze)
    bronze_errors = sum(record.get("type") == "error" for record in bronze)
    print(f"\nbronze {bronze_readings} readings, {bronze_errors} errors; Postgres {postgres};", end=" ")
    print(f"Iceberg {iceberg[0]} readings ({iceberg[1]} rows), {iceberg[2]} errors; gold {gold}")
    assert (bronze_readings, bronze_errors) == (READINGS, ERRORS)
    assert postgres == (READINGS, ERRORS, 10)
    assert iceberg == (READINGS, READINGS * len(METRICS), ERRORS)
    assert gold[:3] == (READINGS, ERRORS, 10)
    assert 0 <= gold[3] < gold[4] <= 100


def _bronze(settings: Settings) -> list[dict[str, object]]:
    lake = lake_filesystem(settings.lake)
    found = []
    for path in objects(lake, TENANT.prefix("bronze")):
        lines = gzip.decompress(get(lake, path)).splitlines()
        found += [orjson.loads(orjson.loads(line)["value"]) for line in lines]
    return found


def _postgres(settings: Settings) -> tuple[int, ...]:
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        return tuple(connection.execute(POSTGRES).one())


def _iceberg(settings: Settings) -> tuple[int, int, int]:
    catalog = iceberg_catalog(settings.lake, settings.database)
    readings = catalog.load_table((TENANT.id, "telemetry")).scan().to_arrow()
    events = catalog.load_table((TENANT.id, "events")).scan().to_arrow()
    positions = readings.group_by(["topic", "kafka_partition", "kafka_offset"]).aggregate([])
    errors = sum(kind == "error" for kind in events["type"].to_pylist())
    return positions.num_rows, readings.num_rows, errors


def _gold(settings: Settings) -> tuple[float, ...]:
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        return tuple(connection.execute(GOLD).one())
