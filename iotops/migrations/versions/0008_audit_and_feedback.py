"""Tiers and policies of tenants, the audit of the copilot's calls, and what people think of its answers."""

from __future__ import annotations

from alembic import context, op

revision = "0008"
down_revision = "0007"

ANALYSTS = "iotops_analyst"
OWN = "tenant_id = current_setting('app.tenant_id', true)"

TABLES = """
-- Null: the default tier of configs/tiers.yaml.
ALTER TABLE platform.tenants ADD COLUMN tier text, ADD COLUMN keep_questions boolean NOT NULL DEFAULT false;

-- A row per call. `latency_ms` runs from the call's arrival to its last byte, `cost` is in the currency of
-- the prices in configs/models.yaml, and `question` is null unless the tenant's policy keeps it.
CREATE TABLE platform.audit_log (
    entry_id uuid PRIMARY KEY, tenant_id text NOT NULL, at timestamptz NOT NULL, subject text NOT NULL,
    role text NOT NULL, action text NOT NULL, object text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('done', 'denied', 'refused', 'failed', 'cancelled')),
    status smallint NOT NULL, request_id text NOT NULL, latency_ms double precision NOT NULL,
    model text, prompt_tokens bigint NOT NULL, completion_tokens bigint NOT NULL,
    cost double precision NOT NULL, question text);
CREATE INDEX audit_log_at ON platform.audit_log (tenant_id, at DESC);
CREATE INDEX audit_log_request ON platform.audit_log (tenant_id, request_id);

-- The last word of each user on each answer.
CREATE TABLE platform.feedback (
    tenant_id text NOT NULL, request_id text NOT NULL, subject text NOT NULL, thumbs_up boolean NOT NULL,
    reason text, given_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, request_id, subject));
CREATE INDEX feedback_given ON platform.feedback (tenant_id, given_at);

-- What people thought of the answers, by week (of its Monday, UTC): of the seven days before the evaluation.
CREATE TABLE gold.answer_ratings (
    tenant_id text NOT NULL, week date NOT NULL, evaluated_at timestamptz NOT NULL,
    ratings integer NOT NULL CHECK (ratings > 0), thumbs_up integer NOT NULL,
    PRIMARY KEY (tenant_id, week), CHECK (thumbs_up BETWEEN 0 AND ratings));
"""


def upgrade() -> None:
    """Create the tables under row security; nobody but their owner may change what the audit holds."""
    app = context.config.attributes["app_role"]
    op.execute(TABLES)
    for table, rights in (
        ("platform.audit_log", "SELECT, INSERT"),
        ("platform.feedback", "SELECT, INSERT, UPDATE"),
        ("gold.answer_ratings", "SELECT, INSERT, UPDATE"),
    ):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT {rights} ON {table} TO {app}")
    # Not even a right that somebody grants by mistake would let the application change a row of the audit.
    op.execute(f"CREATE POLICY app ON platform.audit_log FOR SELECT TO {app} USING ({OWN})")
    op.execute(f"CREATE POLICY app_adds ON platform.audit_log FOR INSERT TO {app} WITH CHECK ({OWN})")
    for table in ("platform.feedback", "gold.answer_ratings"):
        op.execute(f"CREATE POLICY app ON {table} TO {app} USING ({OWN})")
    op.execute(f"GRANT SELECT ON gold.answer_ratings TO {ANALYSTS}")
    op.execute(
        f"CREATE POLICY analyst ON gold.answer_ratings FOR SELECT TO {ANALYSTS} "
        "USING ('tenant_' || tenant_id = current_user)"
    )
