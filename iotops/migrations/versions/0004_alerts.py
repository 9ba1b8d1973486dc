"""Alerts, and which of their messages Kafka has."""

from __future__ import annotations

from alembic import context, op

revision = "0004"
down_revision = "0003"

ANALYSTS = "iotops_analyst"
OWN = "tenant_id = current_setting('app.tenant_id', true)"


def upgrade() -> None:
    """Create the tables under row security."""
    app = context.config.attributes["app_role"]
    op.execute("""
        CREATE TABLE silver.alerts (
            tenant_id text NOT NULL, alert_id uuid NOT NULL, device_id text NOT NULL, rule text NOT NULL,
            kind text NOT NULL, metric text, severity text NOT NULL, opened_at timestamptz NOT NULL,
            resolved_at timestamptz, resolved_because text, evidence jsonb NOT NULL,
            topic text NOT NULL, kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL,
            PRIMARY KEY (tenant_id, alert_id));
        CREATE INDEX alerts_device ON silver.alerts (tenant_id, device_id, opened_at DESC);
        CREATE INDEX alerts_open ON silver.alerts (tenant_id, topic, kafka_partition)
            WHERE resolved_at IS NULL;

        -- A message per change of an alert, in order; `attempted_at` alone is a try that broke off.
        CREATE TABLE ingest.alert_messages (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_id text NOT NULL, alert_id uuid NOT NULL, status text NOT NULL,
            attempted_at timestamptz, published_at timestamptz,
            UNIQUE (tenant_id, alert_id, status));
        CREATE INDEX alert_messages_due ON ingest.alert_messages (tenant_id, position)
            WHERE published_at IS NULL""")
    for table in ("silver.alerts", "ingest.alert_messages"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {app}")
        op.execute(f"CREATE POLICY app ON {table} TO {app} USING ({OWN})")
    op.execute(f"GRANT SELECT ON silver.alerts TO {ANALYSTS}")
    op.execute(
        f"CREATE POLICY analyst ON silver.alerts FOR SELECT TO {ANALYSTS} "
        "USING ('tenant_' || tenant_id = current_user)"
    )
