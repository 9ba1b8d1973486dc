"""What the lakehouse keeps beside its tables: risks, explained error codes, runs, evaluations, backfills."""

from __future__ import annotations

from alembic import context, op

revision = "0006"
down_revision = "0005"

ANALYSTS = "iotops_analyst"
OWN = "tenant_id = current_setting('app.tenant_id', true)"

TABLES = """
-- Probability that a component of the device fails within the horizon after the day's end.
CREATE TABLE gold.failure_risk (
    tenant_id text NOT NULL, device_id text NOT NULL, day date NOT NULL, horizon_hours integer NOT NULL,
    probability double precision NOT NULL CHECK (probability BETWEEN 0 AND 1), model_version text NOT NULL,
    PRIMARY KEY (tenant_id, device_id, day, horizon_hours));

-- When a component of a device failed, or was serviced: what the risk and the maintenance age rest on.
CREATE TABLE gold.service_events (
    tenant_id text NOT NULL, device_id text NOT NULL, occurred_at timestamptz NOT NULL,
    type text NOT NULL CHECK (type IN ('failure', 'maintenance')), component text NOT NULL,
    PRIMARY KEY (tenant_id, device_id, component, occurred_at, type));

-- Mean time between failures (hours) of the customer's fleet over the window up to the day; null without any.
ALTER TABLE gold.customer_summary ADD COLUMN mtbf_hours double precision;

-- Which articles explain an error code that the fleet reports, and how sure that is (0-1); a code that
-- nothing explains has one row of method 'none', without an article.
CREATE TABLE gold.error_knowledge (
    tenant_id text NOT NULL, error_code text NOT NULL, doc_id text NOT NULL, title text NOT NULL,
    uri text NOT NULL, section text NOT NULL,
    method text NOT NULL CHECK (method IN ('exact', 'hybrid', 'none')),
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    devices bigint NOT NULL, events bigint NOT NULL, first_seen timestamptz, last_seen timestamptz,
    PRIMARY KEY (tenant_id, error_code, doc_id, section));

-- A run of a pipeline as OpenLineage tells it; inputs and outputs are datasets with rows and schema.
CREATE TABLE gold.pipeline_runs (
    tenant_id text NOT NULL, run_id uuid NOT NULL, job text NOT NULL, state text NOT NULL,
    started_at timestamptz NOT NULL, ended_at timestamptz, code_version text NOT NULL,
    inputs jsonb NOT NULL DEFAULT '[]', outputs jsonb NOT NULL DEFAULT '[]', message text,
    PRIMARY KEY (tenant_id, run_id));
CREATE INDEX pipeline_runs_started ON gold.pipeline_runs (tenant_id, started_at DESC);

-- How well retrieval finds what a shelf holds, by method.
CREATE TABLE gold.rag_evaluations (
    tenant_id text NOT NULL, evaluated_at timestamptz NOT NULL, method text NOT NULL, snapshot text NOT NULL,
    questions integer NOT NULL, ndcg_at_10 double precision NOT NULL, recall_at_10 double precision NOT NULL,
    mrr double precision NOT NULL,
    PRIMARY KEY (tenant_id, evaluated_at, method));

-- A backfill of a range (UTC); what was computed after its start is done.
CREATE TABLE ingest.backfills (
    tenant_id text NOT NULL, flow text NOT NULL, first timestamptz NOT NULL, last timestamptz NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(), finished_at timestamptz,
    PRIMARY KEY (tenant_id, flow, first, last, started_at));
"""
GOLD = (
    "gold.failure_risk", "gold.service_events", "gold.error_knowledge", "gold.pipeline_runs",
    "gold.rag_evaluations",
)  # fmt: skip


def upgrade() -> None:
    """Create the tables under row security; analysts read gold's."""
    app = context.config.attributes["app_role"]
    op.execute(TABLES)
    for table in (*GOLD, "ingest.backfills"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {app}")
        op.execute(f"CREATE POLICY app ON {table} TO {app} USING ({OWN})")
    for table in GOLD:
        op.execute(f"GRANT SELECT ON {table} TO {ANALYSTS}")
        op.execute(
            f"CREATE POLICY analyst ON {table} FOR SELECT TO {ANALYSTS} "
            "USING ('tenant_' || tenant_id = current_user)"
        )
    # Runs for the shelf of all tenants: all read them, only a transaction bound to no tenant writes them.
    op.execute(
        f"CREATE POLICY shared ON gold.pipeline_runs FOR SELECT TO {app}, {ANALYSTS} "
        "USING (tenant_id = 'shared')"
    )
    op.execute(
        f"CREATE POLICY platform ON gold.pipeline_runs TO {app} "
        "USING (tenant_id = 'shared' AND coalesce(current_setting('app.tenant_id', true), '') = '')"
    )
