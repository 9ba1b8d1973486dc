"""The days that an arrival hour brought, not the first and the last: a wrong clock sets them years apart."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Of hours that are loaded the days are taken to be all between the two, at most those of a year.

    Row security binds the owner too, hence the pause.
    """
    op.execute("""
        ALTER TABLE ingest.lake_hours ADD COLUMN days date[] NOT NULL DEFAULT '{}';
        ALTER TABLE ingest.lake_hours NO FORCE ROW LEVEL SECURITY;
        UPDATE ingest.lake_hours SET days = ARRAY(
            SELECT first_day UNION
            SELECT CAST(generate_series(greatest(first_day, last_day - 365), last_day, '1 day') AS date)
            ORDER BY 1)
        WHERE first_day IS NOT NULL;
        ALTER TABLE ingest.lake_hours FORCE ROW LEVEL SECURITY;
        ALTER TABLE ingest.lake_hours DROP COLUMN first_day, DROP COLUMN last_day""")
