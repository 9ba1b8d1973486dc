"""A reader of the hot tables holds up neither a new day nor, for long, the retention."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

# A table that is attached takes a lock that readers leave free; one that is made as a partition, or dropped,
# waits for all of them, and those that come meanwhile wait behind it. Retention can wait until the next hour.
FUNCTIONS = """
CREATE OR REPLACE FUNCTION silver.add_day(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE name text; part text;
BEGIN
    IF day < current_date - 400 OR day > current_date + 2 THEN
        RAISE EXCEPTION 'arrival day % is absurd', day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('silver.add_day'));
    FOREACH name IN ARRAY ARRAY['telemetry', 'events'] LOOP
        part := name || to_char(day, '_YYYYMMDD');
        IF to_regclass(format('silver.%I', part)) IS NULL THEN
            EXECUTE format('CREATE TABLE silver.%I (LIKE silver.%I)', part, name);
            EXECUTE format('ALTER TABLE silver.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
            EXECUTE format('ALTER TABLE silver.%I ATTACH PARTITION silver.%I FOR VALUES FROM (%L) TO (%L)',
                           name, part, day, day + 1);
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION silver.drop_days_before(day date) RETURNS integer LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '2s' AS $$
DECLARE part record; dropped integer := 0;
BEGIN
    IF day > current_date THEN
        RAISE EXCEPTION 'retention would drop today: % lies ahead', day;
    END IF;
    FOR part IN
        SELECT child.relname FROM pg_inherits
        JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent IN ('silver.telemetry'::regclass, 'silver.events'::regclass)
          AND child.relname ~ '_[0-9]{8}$' AND to_date(right(child.relname, 8), 'YYYYMMDD') < day
    LOOP
        EXECUTE format('DROP TABLE silver.%I', part.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
"""

# `provisioning` gives them to the roles of new tenants.
LIMITS = """
DO $$ DECLARE name name; BEGIN
    FOR name IN
        SELECT rolname FROM pg_roles JOIN pg_auth_members ON member = pg_roles.oid
        WHERE roleid = 'iotops_analyst'::regrole AND rolname LIKE 'tenant\\_%'
    LOOP
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''30min''', name);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''5min''', name);
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Replace the functions, and limit how long the transactions of tenants' own roles may take."""
    op.execute(FUNCTIONS)
    op.execute(LIMITS)
