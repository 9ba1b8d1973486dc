"""Troubleshooting guides under way."""

from __future__ import annotations

from alembic import context, op

revision = "0007"
down_revision = "0006"

TABLE = """
CREATE SCHEMA copilot;
-- A guide as the API answers it, with the outcome of each step.
CREATE TABLE copilot.guides (
    tenant_id text NOT NULL, guide_id uuid NOT NULL, device_id text NOT NULL, opened_by text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(), guide jsonb NOT NULL,
    PRIMARY KEY (tenant_id, guide_id));
CREATE INDEX guides_of_device ON copilot.guides (tenant_id, device_id, opened_at DESC);
ALTER TABLE copilot.guides ENABLE ROW LEVEL SECURITY;
ALTER TABLE copilot.guides FORCE ROW LEVEL SECURITY;
"""
OWN = "tenant_id = current_setting('app.tenant_id', true)"


def upgrade() -> None:
    """Create the table under row security."""
    app = context.config.attributes["app_role"]
    op.execute(TABLE)
    op.execute(f"GRANT USAGE ON SCHEMA copilot TO {app}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON copilot.guides TO {app}")
    op.execute(f"CREATE POLICY app ON copilot.guides TO {app} USING ({OWN})")
