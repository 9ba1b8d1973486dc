"""Hot silver in partitions by arrival day, which retention drops whole.

By arrival and not by event time: a device with a wrong clock, or a replayed past, would else make a partition
for any day, and a fresh record could lie in one that retention has dropped.
"""

from __future__ import annotations

from alembic import context, op

revision = "0002"
down_revision = "0001"

ANALYSTS = "iotops_analyst"
TABLES = ("telemetry", "events")

PARTITIONED = """
ALTER TABLE silver.{table} RENAME TO {table}_whole;
ALTER TABLE silver.{table}_whole RENAME CONSTRAINT {table}_pkey TO {table}_whole_pkey;
ALTER INDEX silver.{table}_device RENAME TO {table}_whole_device;
CREATE TABLE silver.{table} (
    LIKE silver.{table}_whole, arrival_day date NOT NULL,
    PRIMARY KEY (tenant_id, kafka_partition, kafka_offset, arrival_day)) PARTITION BY RANGE (arrival_day);
CREATE INDEX {table}_device ON silver.{table} (tenant_id, device_id, ts DESC);
"""

# The application role owns no table and may make none: these two run as the owner, and do only this.
FUNCTIONS = """
CREATE FUNCTION silver.add_day(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE name text; part text;
BEGIN
    IF day < current_date - 400 OR day > current_date + 2 THEN
        RAISE EXCEPTION 'arrival day % is absurd', day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('silver.add_day'));
    FOREACH name IN ARRAY ARRAY['telemetry', 'events'] LOOP
        part := name || to_char(day, '_YYYYMMDD');
        EXECUTE format('CREATE TABLE IF NOT EXISTS silver.%I PARTITION OF silver.%I '
                       'FOR VALUES FROM (%L) TO (%L)', part, name, day, day + 1);
        EXECUTE format('ALTER TABLE silver.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
    END LOOP;
END $$;

CREATE FUNCTION silver.drop_days_before(day date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
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
END $$;
REVOKE ALL ON FUNCTION silver.add_day, silver.drop_days_before FROM PUBLIC;
"""

# Rows stored before this revision have no arrival day: they count as arrived on the day of the migration.
# Row security binds the owner too, hence the pause; nobody else sees the old table.
MOVE = """
SELECT silver.add_day(current_date);
ALTER TABLE silver.{table}_whole NO FORCE ROW LEVEL SECURITY;
INSERT INTO silver.{table} SELECT *, current_date FROM silver.{table}_whole;
DROP TABLE silver.{table}_whole;
"""


def upgrade() -> None:
    """Make the partitioned tables, their functions and policies, and move the rows."""
    app = context.config.attributes["app_role"]
    for table in TABLES:
        op.execute(PARTITIONED.format(table=table))
    op.execute(FUNCTIONS)
    op.execute(f"GRANT EXECUTE ON FUNCTION silver.add_day, silver.drop_days_before TO {app}")
    for table in TABLES:
        op.execute(MOVE.format(table=table))
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON silver.{table} TO {app}")
        op.execute(f"GRANT SELECT ON silver.{table} TO {ANALYSTS}")
        op.execute(f"ALTER TABLE silver.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE silver.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY app ON silver.{table} TO {app} "
            "USING (tenant_id = current_setting('app.tenant_id', true))"
        )
        op.execute(
            f"CREATE POLICY analyst ON silver.{table} FOR SELECT TO {ANALYSTS} "
            "USING (current_user = 'tenant_' || tenant_id)"
        )
