"""From bronze objects to silver tables (Iceberg) to gold rows (Postgres), on Ray Data."""
