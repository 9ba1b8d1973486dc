"""Alembic's entry: runs the revisions as the owning role, one process at a time."""

from alembic import context
from sqlalchemy import text

LOCK = 7_303_014  # any number: two processes that migrate at once must agree on it

engine = context.config.attributes["engine"]
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, version_table_schema="public")
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
    connection.commit()
