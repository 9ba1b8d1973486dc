"""What an analyst of one tenant reaches: SQL over silver and gold, and jobs on the cluster."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from iotops.analyst import Credentials, connect
from iotops.cli import build
from iotops.errors import IotOpsError
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.jobs.client import follow, job_client, submit
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.silver_to_gold import build_gold
from tests.integration.test_lake import DAYS, FIRST, put_object, readings

NOW = datetime(2026, 11, 2, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def analysts(settings: Settings) -> dict[str, Credentials]:
    """Two tenants with silver and gold; the second has one device less."""
    made = {}
    for name, devices in (("sql_east", ["pump-0", "pump-1"]), ("sql_west", ["pump-9"])):
        tenant = Tenant(name)
        granted = create_tenant(settings, tenant)
        put_object(settings, tenant.telemetry_topic, FIRST, [*readings(DAYS, devices), '{"broken"'], 0)
        load_silver(settings, tenant)
        build_gold(settings, tenant, now=NOW)
        made[name] = Credentials(
            tenant_id=name,
            database_role=granted.database_role,
            database_password=granted.database_password,
            storage_access_key=granted.storage_access_key,
            storage_secret_key=granted.storage_secret_key,
        )
    return made


def test_each_sees_its_own_rows_in_silver_and_gold(
    settings: Settings, analysts: dict[str, Credentials]
) -> None:
    for name, devices in (("sql_east", ["pump-0", "pump-1"]), ("sql_west", ["pump-9"])):
        connection = connect(analysts[name], settings)
        for table in ("silver.telemetry", f"{name}.telemetry", "gold.device_health"):
            found = connection.sql(f"SELECT DISTINCT device_id FROM {table} ORDER BY 1").fetchall()
            assert [row[0] for row in found] == devices, table
        counts = connection.sql(
            "SELECT (SELECT count(*) FROM silver.telemetry), (SELECT count(*) FROM silver.quarantine)"
        )
        assert counts.fetchall() == [(len(devices) * len(DAYS) * 4 * 2, 1)]


@pytest.mark.parametrize("name", ["one.csv", "one.parquet"])
def test_a_file_that_cannot_be_written_is_named(
    settings: Settings, analysts: dict[str, Credentials], tmp_path: Path, name: str
) -> None:
    own = {
        field: getattr(value, "get_secret_value", lambda value=value: value)()
        for field, value in analysts["sql_east"]
    }
    (tmp_path / "own.json").write_text(json.dumps(own))
    query = ["sql", "SELECT 1 AS one", "--credentials", str(tmp_path / "own.json"), "--output"]
    written, refused = (
        CliRunner().invoke(build(), [*query, str(folder / name)]) for folder in (tmp_path, tmp_path / "away")
    )
    assert written.output == f"1 rows in {tmp_path / name}\n"
    assert isinstance(refused.exception, IotOpsError)
    assert f"{tmp_path / 'away' / name} cannot be written: No such file" in str(refused.exception)


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT * FROM sql_west.telemetry",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "DELETE FROM silver.telemetry",
    ],
)
def test_sql_reaches_nothing_else(settings: Settings, analysts: dict[str, Credentials], attack: str) -> None:
    connection = connect(analysts["sql_east"], settings)
    with pytest.raises(duckdb.Error):
        connection.execute(attack)


def test_the_fleet_report_is_a_job_on_the_cluster(
    settings: Settings, analysts: dict[str, Credentials], tmp_path: Path
) -> None:
    client, lines = job_client(settings), []
    arguments = ["--tenant", "sql_east", "--from", str(DAYS[0]), "--to", str(DAYS[-1])]
    job = submit(client, "pipelines.jobs.fleet_report", [*arguments, "--output", str(tmp_path / "report")])
    assert follow(client, job, lines.append) == "SUCCEEDED", "\n".join(lines)
    (page,) = tmp_path.rglob("*.html")
    text = page.read_text()
    assert "pump-0" in text
    assert "<svg" in text
    assert "pump-9" not in text
    assert list(tmp_path.rglob("*.csv"))
