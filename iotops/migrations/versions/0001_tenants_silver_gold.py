"""Tenants, hot silver, ingest offsets, gold and the Iceberg catalog, all under row-level security."""

from __future__ import annotations

from alembic import context, op

revision = "0001"
down_revision = None

# The group of every tenant's own database role; a policy ties a role `tenant_<id>` to the rows of <id>.
ANALYSTS = "iotops_analyst"

TABLES = """
CREATE SCHEMA platform; CREATE SCHEMA silver; CREATE SCHEMA ingest; CREATE SCHEMA gold; CREATE SCHEMA iceberg;

CREATE TABLE platform.tenants (
    tenant_id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now());

-- One row per reading. The Kafka position is the identity, so a replayed batch changes nothing.
CREATE TABLE silver.telemetry (
    tenant_id text NOT NULL, device_id text NOT NULL, ts timestamptz NOT NULL, seq bigint,
    metrics jsonb NOT NULL, model text, firmware text,
    kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL,
    PRIMARY KEY (tenant_id, kafka_partition, kafka_offset));
CREATE INDEX telemetry_device ON silver.telemetry (tenant_id, device_id, ts DESC);

CREATE TABLE silver.events (
    tenant_id text NOT NULL, device_id text NOT NULL, ts timestamptz NOT NULL, type text NOT NULL,
    severity text NOT NULL, error_code text, message text,
    kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL,
    PRIMARY KEY (tenant_id, kafka_partition, kafka_offset));
CREATE INDEX events_device ON silver.events (tenant_id, device_id, ts DESC);

-- Where the silver sink goes on; written in the transaction that writes the rows.
CREATE TABLE ingest.offsets (
    tenant_id text NOT NULL, topic text NOT NULL, partition integer NOT NULL, next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition));

-- Which state of an arrival hour of bronze is in the silver tables of the lake, and what became of it.
-- `listing` is a digest of the hour's objects; the days are those of the event times; `in_gold` is true once
-- the health scores rest on this load.
CREATE TABLE ingest.lake_hours (
    tenant_id text NOT NULL, arrival_hour timestamptz NOT NULL, listing text NOT NULL,
    objects bigint NOT NULL, records bigint NOT NULL, readings bigint NOT NULL, events bigint NOT NULL,
    telemetry_rows bigint NOT NULL, quarantined bigint NOT NULL, duplicates bigint NOT NULL,
    first_day date, last_day date, loaded_at timestamptz NOT NULL, in_gold boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, arrival_hour));

CREATE TABLE gold.device_health (
    tenant_id text NOT NULL, device_id text NOT NULL, day date NOT NULL, model text,
    score double precision NOT NULL CHECK (score BETWEEN 0 AND 100),
    readings bigint NOT NULL, errors bigint NOT NULL, computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id, day));

-- Why a score is what it is: the points that each component took from 100.
CREATE TABLE gold.device_health_components (
    tenant_id text NOT NULL, device_id text NOT NULL, day date NOT NULL, component text NOT NULL,
    value double precision, penalty double precision NOT NULL, weight double precision NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (tenant_id, device_id, day, component));

CREATE TABLE gold.customer_summary (
    tenant_id text NOT NULL, day date NOT NULL, devices bigint NOT NULL, mean_score double precision NOT NULL,
    unhealthy_devices bigint NOT NULL, readings bigint NOT NULL, errors bigint NOT NULL,
    failures bigint NOT NULL, worst_devices jsonb NOT NULL, top_error_codes jsonb NOT NULL,
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, day));

-- The layout that pyiceberg's SQL catalog expects, made here so that row security holds from the start.
CREATE TABLE iceberg.iceberg_tables (
    catalog_name varchar(255) NOT NULL, table_namespace varchar(255) NOT NULL,
    table_name varchar(255) NOT NULL, metadata_location varchar(1000),
    previous_metadata_location varchar(1000), iceberg_type varchar(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name));
CREATE TABLE iceberg.iceberg_namespace_properties (
    catalog_name varchar(255) NOT NULL, namespace varchar(255) NOT NULL,
    property_key varchar(255) NOT NULL, property_value varchar(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key));
"""

TENANT_TABLES = (
    "platform.tenants",
    "silver.telemetry",
    "silver.events",
    "ingest.offsets",
    "ingest.lake_hours",
    "gold.device_health",
    "gold.device_health_components",
    "gold.customer_summary",
)
CATALOG_TABLES = {
    "iceberg.iceberg_tables": "table_namespace",
    "iceberg.iceberg_namespace_properties": "namespace",
}
SCHEMAS = "platform, silver, ingest, gold, iceberg"


def upgrade() -> None:
    """Create the tables, the analysts' group, the grants and the policies."""
    app = context.config.attributes["app_role"]
    op.execute(TABLES)
    op.execute(
        f"DO $$ BEGIN CREATE ROLE {ANALYSTS} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    op.execute(
        "DO $$ BEGIN EXECUTE format("
        f"'GRANT CONNECT ON DATABASE %I TO {app}, {ANALYSTS}', current_database()); END $$"
    )
    op.execute(f"GRANT USAGE ON SCHEMA {SCHEMAS} TO {app}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMAS} TO {app}")
    op.execute(f"GRANT USAGE ON SCHEMA silver, gold, iceberg TO {ANALYSTS}")
    op.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA silver, gold, iceberg TO {ANALYSTS}")
    for table in TENANT_TABLES:
        _secure(table)
        op.execute(
            f"CREATE POLICY app ON {table} TO {app} "
            "USING (tenant_id = current_setting('app.tenant_id', true))"
        )
        op.execute(
            f"CREATE POLICY analyst ON {table} FOR SELECT TO {ANALYSTS} "
            "USING (current_user = 'tenant_' || tenant_id)"
        )
    op.execute("CREATE POLICY owner ON platform.tenants TO CURRENT_USER USING (true)")
    for table, column in CATALOG_TABLES.items():
        _secure(table)
        op.execute(f"CREATE POLICY app ON {table} TO {app} USING (true)")
        op.execute(
            f"CREATE POLICY analyst ON {table} FOR SELECT TO {ANALYSTS} "
            f"USING (current_user = 'tenant_' || {column})"
        )


def _secure(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
