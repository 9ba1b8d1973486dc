"""Postgres: engines, transactions bound to one tenant, and the schema's migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, text

from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant

MIGRATIONS = Path(__file__).with_name("migrations")
STATEMENT_S = 5.0


def engine(settings: DatabaseSettings, *, as_owner: bool = False) -> Engine:
    """A pooled engine of the application role, shared by the process; or the owner's, for migrations."""
    return _engine(settings.url(as_owner=as_owner), 0)


def serving_engine(settings: DatabaseSettings) -> Engine:
    """The engine of what answers calls.

    A statement is given up after `STATEMENT_S`, and so is a server that does not acknowledge.
    """
    return _engine(settings.url(), STATEMENT_S)


@lru_cache(maxsize=16)
def _engine(url: URL, statement_s: float) -> Engine:
    """`statement_s` of 0 gives nothing up."""
    milliseconds = round(statement_s * 1000)
    connect: dict[str, Any] = {"connect_timeout": 5}
    if statement_s:
        connect |= {"options": f"-c statement_timeout={milliseconds}", "tcp_user_timeout": 2 * milliseconds}
    return create_engine(
        url,
        pool_size=5,
        max_overflow=10,
        pool_pre_ping=True,
        connect_args=connect,
        hide_parameters=True,  # the words of a question may be among them, and an error is logged
    )


@contextmanager
def tenant_transaction(engine: Engine, tenant: Tenant) -> Iterator[Connection]:
    """One transaction that sees and writes the rows of one tenant: row-level security does the rest."""
    with engine.begin() as connection:
        bind_tenant(connection, tenant)
        yield connection


def bind_tenant(connection: Connection, tenant: Tenant) -> None:
    """Tie the running transaction to a tenant; `SET LOCAL` ends with the transaction."""
    connection.execute(text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": tenant.id})


def driver(connection: Connection) -> psycopg.Connection:
    """The psycopg connection beneath, for COPY and for identifiers that cannot be bound."""
    beneath = connection.connection.driver_connection
    assert isinstance(beneath, psycopg.Connection)
    return beneath


def migrate(settings: DatabaseSettings) -> None:
    """Bring the schema to the newest revision; does nothing when it is there already."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine(settings, as_owner=True)
    config.attributes["app_role"] = settings.user
    command.upgrade(config, "head")
