"""Work that nobody else does meanwhile, on however many machines: a lock in Postgres."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from iotops.database import engine
from iotops.settings import Settings

INDEXING = "indexing"
"""What whoever builds the index of a shelf does alone."""
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext(:name), hashtext(:tenant))")
_TRIED_EVERY_S, _SAID_EVERY = 1.0, 10


@contextmanager
def alone(
    settings: Settings, name: str, tenant_id: str, on_progress: Callable[[str], None]
) -> Iterator[None]:
    """Nobody else does `name` for the tenant meanwhile; whoever dies lets go with its connection.

    Waits for whoever does, for as long as that takes, and says so now and then.
    """
    connection = engine(settings.database).connect()
    try:
        for tried in count():
            if connection.execute(TRY_LOCK, {"name": name, "tenant": tenant_id}).scalar_one():
                break
            if tried % _SAID_EVERY == 0:
                on_progress(f"waiting for another {name} of {tenant_id}")
            time.sleep(_TRIED_EVERY_S)
        yield
    finally:
        with suppress(SQLAlchemyError):  # a lost connection has let go already; it must not hide the failure
            connection.close()


def taken(settings: Settings, name: str, tenant_id: str) -> bool:
    """Whether somebody does `name` for the tenant now."""
    with engine(settings.database).connect() as connection:
        return not connection.execute(TRY_LOCK, {"name": name, "tenant": tenant_id}).scalar_one()
