"""Two tenants: each one's database role and storage key is refused everything of the other's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pyarrow as pa
import pytest
from pyarrow.fs import FileSelector
from sqlalchemy import text
from sqlalchemy.exc import DataError, ProgrammingError

from iotops.database import engine, tenant_transaction
from iotops.errors import TenantError
from iotops.lake import get, iceberg_catalog, lake_filesystem, put, storage_filesystem
from iotops.provisioning import LIMITS, TenantCredentials, create_tenant
from iotops.settings import Settings
from iotops.tenancy import WRITTEN_BY_TENANTS, Tenant

AREAS = (*WRITTEN_BY_TENANTS, "bronze/raw", "silver", "indexes", "rerankers", "deadletter", "alerting")
TABLES = (
    "silver.telemetry", "silver.events", "silver.alerts", "gold.device_health",
    "gold.device_health_components", "gold.customer_summary", "gold.failure_risk", "gold.service_events",
    "gold.error_knowledge", "gold.pipeline_runs", "gold.rag_evaluations", "gold.answer_ratings",
    "iceberg.iceberg_tables", "iceberg.iceberg_namespace_properties",
)  # fmt: skip
INSERTS = {
    "silver.telemetry": "(tenant_id, device_id, ts, metrics, kafka_partition, kafka_offset, arrival_day) "
    "VALUES (:t, 'd', now(), '{}', 0, 0, current_date)",
    "silver.events": "(tenant_id, device_id, ts, type, severity, kafka_partition, kafka_offset, arrival_day) "
    "VALUES (:t, 'd', now(), 'error', 'error', 0, 0, current_date)",
    "silver.alerts": "(tenant_id, alert_id, device_id, rule, kind, severity, opened_at, evidence, topic, "
    "kafka_partition, kafka_offset) "
    "VALUES (:t, gen_random_uuid(), 'd', 'hot', 'threshold', 'error', now(), '{}', 'telemetry_' || :t, 0, 0)",
    "gold.device_health": "(tenant_id, device_id, day, score, readings, errors) "
    "VALUES (:t, 'd', now(), 1, 1, 1)",
    "gold.device_health_components": "(tenant_id, device_id, day, component, penalty, weight, detail) "
    "VALUES (:t, 'd', now(), 'anomaly', 1, 1, '')",
    "gold.failure_risk": "(tenant_id, device_id, day, horizon_hours, probability, model_version) "
    "VALUES (:t, 'd', now(), 24, 0.5, 'v')",
    "gold.service_events": "(tenant_id, device_id, occurred_at, type, component) "
    "VALUES (:t, 'd', now(), 'failure', 'bearing')",
    "gold.error_knowledge": "(tenant_id, error_code, doc_id, title, uri, section, method, confidence, "
    "devices, events) VALUES (:t, 'E1', 'doc', 'title', 'uri', '', 'exact', 1, 1, 1)",
    "gold.pipeline_runs": "(tenant_id, run_id, job, state, started_at, code_version) "
    "VALUES (:t, gen_random_uuid(), 'silver-to-gold', 'COMPLETE', now(), '1')",
    "gold.rag_evaluations": "(tenant_id, evaluated_at, method, snapshot, questions, ndcg_at_10, "
    "recall_at_10, mrr) VALUES (:t, now(), 'hybrid', 's', 1, 1, 1, 1)",
    "gold.answer_ratings": "(tenant_id, week, evaluated_at, ratings, thumbs_up) "
    "VALUES (:t, now(), now(), 1, 1)",
    "platform.audit_log": "(entry_id, tenant_id, at, subject, role, action, object, outcome, status, "
    "request_id, latency_ms, prompt_tokens, completion_tokens, cost) "
    "VALUES (gen_random_uuid(), :t, now(), 's', 'operator', 'POST /ask', '', 'done', 200, 'r', 1, 0, 0, 0)",
    "platform.feedback": "(tenant_id, request_id, subject, thumbs_up, given_at) "
    "VALUES (:t, 'r', 's', true, now())",
    "ingest.backfills": "(tenant_id, flow, first, last) VALUES (:t, 'bronze-to-silver', now(), now())",
    "ingest.offsets": "(tenant_id, topic, partition, next_offset) VALUES (:t, 'telemetry_' || :t, 0, 1)",
}
SHARED = {"gold.pipeline_runs": {"shared"}}
"""What is everybody's: the runs for the shelf of all tenants."""


@dataclass(frozen=True)
class Party:
    """A tenant with its credentials."""

    tenant: Tenant
    credentials: TenantCredentials


@pytest.fixture(scope="module")
def parties(settings: Settings) -> tuple[Party, Party]:
    """Two tenants, each with rows in every table and an object in every area."""
    made = []
    for name in ("north", "south"):
        tenant = Tenant(name)
        made.append(Party(tenant, create_tenant(settings, tenant)))
        with tenant_transaction(engine(settings.database), tenant) as connection:
            connection.execute(text("SELECT silver.add_day(current_date)"))
            for table, insert in INSERTS.items():
                connection.execute(text(f"INSERT INTO {table} {insert}"), {"t": name})
        for area in AREAS:
            put(lake_filesystem(settings.lake), f"{name}/{area}/x", name.encode())
        catalog = iceberg_catalog(settings.lake, settings.database)
        catalog.create_table((name, "probe"), pa.schema([("value", pa.int64())])).append(
            pa.table({"value": [1]})
        )
    return made[0], made[1]


def as_role(settings: Settings, party: Party) -> psycopg.Connection:
    database, credentials = settings.database, party.credentials
    return psycopg.connect(
        host=database.host,
        port=database.port,
        dbname=database.name,
        user=credentials.database_role,
        password=credentials.database_password.get_secret_value(),
        autocommit=True,
    )


def tenants_seen(connection: psycopg.Connection, table: str) -> set[str]:
    column = {
        "iceberg.iceberg_tables": "table_namespace",
        "iceberg.iceberg_namespace_properties": "namespace",
    }
    found = {
        row[0] for row in connection.execute(f"SELECT DISTINCT {column.get(table, 'tenant_id')} FROM {table}")
    }
    return found - SHARED.get(table, set())


@pytest.mark.parametrize("table", [table for table in TABLES if table != "gold.customer_summary"])
def test_a_database_role_sees_its_own_rows_only(settings: Settings, parties: tuple[Party, Party], table: str):
    for party, other in (parties, parties[::-1]):
        with as_role(settings, party) as connection:
            assert tenants_seen(connection, table) == {party.tenant.id}
            # The application's setting is not a key: setting it as an analyst opens nothing.
            connection.execute("SELECT set_config('app.tenant_id', %s, false)", (other.tenant.id,))
            assert tenants_seen(connection, table) == {party.tenant.id}


@pytest.mark.parametrize(
    "attack",
    [
        "INSERT INTO silver.telemetry "
        "(tenant_id, device_id, ts, metrics, kafka_partition, kafka_offset, arrival_day) "
        "VALUES ('south', 'd', now(), '{}', 9, 9, current_date)",
        "UPDATE gold.device_health SET score = 100",
        "DELETE FROM silver.events",
        f"SELECT * FROM silver.telemetry_{datetime.now(UTC):%Y%m%d}",
        "SELECT silver.add_day(current_date)",
        "SELECT silver.drop_days_before(current_date)",
        "TRUNCATE gold.device_health",
        "ALTER TABLE gold.device_health DISABLE ROW LEVEL SECURITY",
        "SET ROLE iotops_app",
        "SET ROLE tenant_south",
        "SET ROLE iotops_owner",
        "SELECT * FROM platform.tenants",
        "SELECT * FROM platform.audit_log",
        "SELECT * FROM platform.feedback",
        "CREATE TABLE public.mine (x int)",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_a_database_role_is_refused_every_way_around(
    settings: Settings, parties: tuple[Party, Party], attack: str
):
    with as_role(settings, parties[0]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(attack)  # type: ignore[call-overload]


def test_a_transaction_of_a_database_role_ends(settings: Settings, parties: tuple[Party, Party]):
    with as_role(settings, parties[0]) as connection:
        for limit, value in LIMITS.items():
            assert connection.execute("SELECT current_setting(%s)", (limit,)).fetchone() == (value,)


def test_a_database_role_cannot_open_the_other_database(settings: Settings, parties: tuple[Party, Party]):
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(
            host=settings.database.host,
            port=settings.database.port,
            dbname="prefect",
            user=parties[0].credentials.database_role,
            password=parties[0].credentials.database_password.get_secret_value(),
        )


def test_the_application_without_a_tenant_sees_nothing(settings: Settings, parties: tuple[Party, Party]):
    with engine(settings.database).connect() as connection:
        for table in INSERTS:
            seen = set(connection.execute(text(f"SELECT tenant_id FROM {table}")).scalars())
            assert seen <= SHARED.get(table, set())


def test_the_application_cannot_write_for_another_tenant(settings: Settings, parties: tuple[Party, Party]):
    for table, insert in INSERTS.items():
        with (
            pytest.raises(ProgrammingError, match="row-level security"),
            tenant_transaction(engine(settings.database), parties[0].tenant) as connection,
        ):
            connection.execute(text(f"INSERT INTO {table} {insert}"), {"t": parties[1].tenant.id})


def test_an_error_tells_nothing_of_what_was_looked_for(settings: Settings):
    with pytest.raises(DataError) as failed, engine(settings.database).connect() as connection:
        connection.execute(
            text("SELECT 1 / (length(cast(:words AS text)) - 15)"), {"words": "ann@example.com"}
        )
    assert "division by zero" in str(failed.value)
    assert "ann@" not in str(failed.value)


@pytest.mark.parametrize("area", AREAS)
def test_a_storage_key_reaches_its_own_prefix_only(
    settings: Settings, parties: tuple[Party, Party], area: str
):
    for party, other in (parties, parties[::-1]):
        credentials = party.credentials
        store = storage_filesystem(
            settings.lake, credentials.storage_access_key, credentials.storage_secret_key.get_secret_value()
        )
        own, foreign = party.tenant.prefix(area), other.tenant.prefix(area)
        assert get(store, f"{own}/x") == party.tenant.id.encode()
        if area in WRITTEN_BY_TENANTS:
            put(store, f"{own}/y", b"mine")
            store.delete_file(f"{own}/y")
        else:
            with pytest.raises(OSError, match="ACCESS_DENIED"):
                put(store, f"{own}/x", b"forged")
            with pytest.raises(OSError, match="ACCESS_DENIED"):
                store.delete_file(f"{own}/x")
        for forbidden in (
            lambda: get(store, f"{foreign}/x"),  # noqa: B023
            lambda: put(store, f"{foreign}/y", b"theirs"),  # noqa: B023
            lambda: store.delete_file(f"{foreign}/x"),  # noqa: B023
            lambda: store.get_file_info(FileSelector(foreign)),  # noqa: B023
            lambda: store.get_file_info(FileSelector("")),  # noqa: B023
            lambda: put(store, "shared/documents/y", b"everyone's"),  # noqa: B023
            lambda: put(store, f"{own}/../../{foreign}/y", b"theirs"),  # noqa: B023
        ):
            with pytest.raises(OSError):  # noqa: PT011
                forbidden()
        assert get(lake_filesystem(settings.lake), f"{foreign}/x") == other.tenant.id.encode()


def test_a_name_that_begins_like_another_is_no_key_to_it(settings: Settings, parties: tuple[Party, Party]):
    put(lake_filesystem(settings.lake), "northern/documents/x", b"secret")
    credentials = parties[0].credentials
    store = storage_filesystem(
        settings.lake, credentials.storage_access_key, credentials.storage_secret_key.get_secret_value()
    )
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        get(store, "northern/documents/x")


def test_a_tenant_is_created_once(settings: Settings, parties: tuple[Party, Party]):
    with pytest.raises(TenantError, match="exists already"):
        create_tenant(settings, parties[0].tenant)
