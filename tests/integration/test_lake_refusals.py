"""Hours with too many refused records, and tables whose declaration changed, on the real catalog."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table
from pyiceberg.types import IntegerType, StringType
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.errors import LakeError
from iotops.lake import iceberg_catalog
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.backfill import Range, backfill
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.refusal import QuarantineError
from pipelines.lake.silver_tables import TABLES, open_tables
from tests.integration.test_lake import DAYS, FIRST, SECOND, put_object, readings, silver

GOOD = readings(DAYS)


def files(table: Table) -> set[str]:
    return {task.file.file_path for task in table.scan().plan_files()}


@pytest.fixture
def tenant(settings: Settings, request: pytest.FixtureRequest) -> Tenant:
    """A tenant of this test's own, with an hour that is loaded."""
    tenant = Tenant(f"refusal_{request.node.name.removeprefix('test_')[:20]}".rstrip("_"))
    create_tenant(settings, tenant)
    put_object(settings, tenant.telemetry_topic, FIRST, GOOD[:100], 0)
    load_silver(settings, tenant)
    return tenant


def test_an_hour_of_refused_records_fails_alone_and_loads_once_mended(
    settings: Settings, tenant: Tenant
) -> None:
    third = SECOND + timedelta(hours=1)
    put_object(settings, tenant.telemetry_topic, SECOND, [*GOOD[100:110], *['{"broken"'] * 100], 1000)
    put_object(settings, tenant.telemetry_topic, third, GOOD[110:120], 2000)
    with pytest.raises(QuarantineError) as failed:
        load_silver(settings, tenant)
    for words in (tenant.id, "2026-11-02T16", "100 of 110 records", "invalid_json", "jsonl.gz", "20%"):
        assert words in str(failed.value)
    assert silver(settings, tenant, "quarantine").num_rows == 100
    assert set(silver(settings, tenant, "telemetry")["arrival_hour"].to_pylist()) == {FIRST, third}
    put_object(settings, tenant.telemetry_topic, SECOND, GOOD[100:110], 1000)
    (load,) = load_silver(settings, tenant)
    assert (load.arrival_hour, load.readings, load.quarantined) == (SECOND, 10, 0)
    assert silver(settings, tenant, "quarantine").num_rows == 0
    assert silver(settings, tenant, "telemetry").num_rows == 2 * 120


def test_a_new_column_comes_without_a_rewrite_and_a_breaking_one_not_at_all(
    settings: Settings, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = iceberg_catalog(settings.lake, settings.database)
    before = {
        task.file.file_path for task in catalog.load_table(f"{tenant.id}.telemetry").scan().plan_files()
    }
    monkeypatch.setitem(TABLES, "telemetry", {**TABLES["telemetry"], "site": StringType()})
    tables = open_tables(catalog, settings.lake, tenant)
    assert files(tables["telemetry"]) == before
    rows = silver(settings, tenant, "telemetry")
    assert rows["site"].null_count == rows.num_rows == 200
    monkeypatch.setitem(TABLES, "telemetry", {**TABLES["telemetry"], "value": IntegerType()})
    with pytest.raises(LakeError, match=r"telemetry: value changed from double to int.*Nothing was written"):
        open_tables(catalog, settings.lake, tenant)


def test_a_field_is_added_and_widened_without_a_rewrite_and_nothing_else_is_done_to_it(
    settings: Settings, tenant: Tenant, tmp_path: Path
) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(settings.configs, configs)
    ruled = settings.model_copy(update={"configs": configs})
    table = iceberg_catalog(settings.lake, settings.database).load_table(f"{tenant.id}.telemetry")

    def load(kind: str, boots: list[int], start: int) -> list[set[str]]:
        """Files before and after a load of one reading for each of `boots`, a field of this kind."""
        (configs / "readings.yaml").write_text(f"fields: {{boots: {kind}}}\n")
        sent = [reading | {"boots": value} for reading, value in zip(GOOD[start:], boots, strict=False)]
        put_object(settings, tenant.telemetry_topic, SECOND + timedelta(hours=start), sent, start)
        before = files(table)
        load_silver(ruled, tenant)
        return [before, files(table.refresh())]

    for kind, boots, start in (("int", [1, 2], 110), ("long", [2**40], 120)):
        before, after = load(kind, boots, start)
        assert before < after, "earlier files are as they were"
    rows = silver(settings, tenant, "telemetry")
    assert sorted(set(rows["boots"].drop_null().to_pylist())) == [1, 2, 2**40]
    assert (rows["boots"].null_count, rows.num_rows) == (200, 206)
    for kind in ("int", "string"):
        with pytest.raises(LakeError, match=f"telemetry: boots changed from long to {kind}.*Nothing was"):
            load(kind, [3], 130)
    assert silver(settings, tenant, "telemetry").num_rows == 206


def test_an_hour_in_which_every_reading_has_a_metric_refused_keeps_the_others(
    settings: Settings, tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "readings.yaml").write_text("metrics: {vibration: {max: 1}}\n")
    put_object(settings, tenant.telemetry_topic, SECOND, GOOD[100:103], 1000)
    (load,) = load_silver(settings.model_copy(update={"configs": tmp_path}), tenant)
    assert (load.records, load.readings, load.quarantined, load.telemetry_rows) == (3, 0, 3, 3)
    kept = silver(settings, tenant, "telemetry").to_pylist()
    assert [row["metric"] for row in kept if row["arrival_hour"] == SECOND] == ["volt"] * 3


def test_a_backfill_goes_on_past_refused_hours_and_they_are_what_is_left(
    settings: Settings, tenant: Tenant
) -> None:
    put_object(settings, tenant.telemetry_topic, SECOND, [*GOOD[100:110], *['{"broken"'] * 100], 1000)
    hours = [SECOND + timedelta(hours=number) for number in range(1, 25)]  # with FIRST more than a chunk
    for number, hour in enumerate(hours):
        put_object(settings, tenant.telemetry_topic, hour, [GOOD[110 + number]], 2000 + number)
    days, steps = Range(FIRST.date(), hours[-1].date()), list[str]()
    with pytest.raises(QuarantineError, match=r"2026-11-02T16: 100 of 110 records"):
        backfill(settings, tenant.id, "bronze-to-silver", days, steps.append)
    assert set(silver(settings, tenant, "telemetry")["arrival_hour"].to_pylist()) == {FIRST, *hours}
    put_object(settings, tenant.telemetry_topic, SECOND, GOOD[100:110], 1000)
    report = backfill(settings, tenant.id, "bronze-to-silver", days, steps.append)
    assert (report.total, report.found_done) == (26, 25)
    assert silver(settings, tenant, "telemetry").num_rows == 2 * 134


def test_what_a_broken_off_run_recorded_stays(settings: Settings, tenant: Tenant) -> None:
    """The book says what is left: an hour that was announced and not recorded is loaded again, no other."""
    put_object(settings, tenant.telemetry_topic, SECOND, GOOD[100:], 1000)
    load_silver(settings, tenant)
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(
            text("UPDATE ingest.lake_hours SET listing = '' WHERE arrival_hour = :hour"), {"hour": SECOND}
        )
    (load,) = load_silver(settings, tenant)
    assert load.arrival_hour == SECOND
    assert silver(settings, tenant, "telemetry").num_rows == 2 * len(GOOD)
