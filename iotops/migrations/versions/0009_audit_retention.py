"""Old rows of the audit may go: by a role of its own, which the application takes on for that alone."""

from __future__ import annotations

from alembic import context, op

revision = "0009"
down_revision = "0008"

RETENTION = "iotops_retention"
OLD = "at < now() - interval '30 days'"
OWN = "tenant_id = current_setting('app.tenant_id', true)"


def upgrade() -> None:
    """Create the role: it deletes what is older than any retention may be set to, of one tenant at a time."""
    app = context.config.attributes["app_role"]
    op.execute(
        f"DO $$ BEGIN CREATE ROLE {RETENTION} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    # Not inherited: until the application says SET ROLE it still has no right to delete.
    op.execute(f"GRANT {RETENTION} TO {app} WITH INHERIT FALSE, SET TRUE")
    op.execute(f"GRANT USAGE ON SCHEMA platform TO {RETENTION}")
    op.execute(f"GRANT SELECT (tenant_id, at), DELETE ON platform.audit_log TO {RETENTION}")
    for policy, action in (("retention_reads", "SELECT"), ("retention", "DELETE")):
        op.execute(
            f"CREATE POLICY {policy} ON platform.audit_log FOR {action} TO {RETENTION} "
            f"USING ({OWN} AND {OLD})"
        )
