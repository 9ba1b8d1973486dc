"""Which dead letters have been sent again."""

from __future__ import annotations

from alembic import context, op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table under row security."""
    app = context.config.attributes["app_role"]
    op.execute("""
        CREATE TABLE ingest.replayed (
            tenant_id text NOT NULL, topic text NOT NULL, kafka_partition integer NOT NULL,
            kafka_offset bigint NOT NULL, replayed_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (topic, kafka_partition, kafka_offset))""")
    op.execute("ALTER TABLE ingest.replayed ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ingest.replayed FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT ON ingest.replayed TO {app}")
    op.execute(
        f"CREATE POLICY app ON ingest.replayed TO {app} "
        "USING (tenant_id = current_setting('app.tenant_id', true))"
    )
