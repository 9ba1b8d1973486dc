"""Indexes for what is asked of a whole fleet: its newest day, worst devices, latest errors and alerts."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create them; those of a partitioned table come with every new partition."""
    op.execute("""
        CREATE INDEX device_health_worst ON gold.device_health (tenant_id, day DESC, score, device_id);
        CREATE INDEX device_health_computed ON gold.device_health (tenant_id, computed_at DESC);
        CREATE INDEX events_errors ON silver.events (tenant_id, ts DESC) WHERE error_code IS NOT NULL;
        CREATE INDEX alerts_open_first
            ON silver.alerts (tenant_id, (resolved_at IS NOT NULL), opened_at DESC);
        CREATE INDEX alert_messages_newest ON ingest.alert_messages (tenant_id, position DESC)""")
