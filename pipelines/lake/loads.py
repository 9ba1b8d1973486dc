"""The book of loads in Postgres: which state of each arrival hour silver holds, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from iotops.database import bind_tenant
from iotops.errors import LakeError
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant


@dataclass(frozen=True)
class HourLoad:
    """What became of an arrival hour: records = readings + events + quarantined + duplicates.

    `telemetry_rows` counts the long rows of the readings; `days` are those of the event times, in order.
    """

    arrival_hour: datetime
    objects: int = 0
    records: int = 0
    readings: int = 0
    events: int = 0
    telemetry_rows: int = 0
    quarantined: int = 0
    duplicates: int = 0
    days: tuple[date, ...] = ()


NAMES = [field.name for field in fields(HourLoad)]
COUNTS = NAMES[1:-1]
EPOCH = date(1970, 1, 1)
OWED = ""
"""The listing of an hour that is not loaded: no digest equals it."""

LOCK_SPACE = "hashtext('lake'), hashtext(:tenant)"
LOCK = text(f"SELECT pg_advisory_xact_lock({LOCK_SPACE})")
KEEP_LOCK = text(f"SELECT pg_advisory_lock({LOCK_SPACE})")
# A driver whose machine vanished is noticed within two minutes, not after the system's two hours.
WATCH_DRIVER = text("""
    SELECT set_config('tcp_keepalives_idle', '60', false), set_config('tcp_keepalives_interval', '10', false),
        set_config('tcp_keepalives_count', '6', false)""")
LISTINGS = text("SELECT arrival_hour, listing FROM ingest.lake_hours")
RECORD = f"""
    INSERT INTO ingest.lake_hours (tenant_id, listing, loaded_at, {", ".join(NAMES)})
    VALUES (:tenant, :listing, clock_timestamp(), {", ".join(f":{name}" for name in NAMES)})
    ON CONFLICT (tenant_id, arrival_hour) DO UPDATE SET listing = :listing"""
TOUCHED = """, in_gold = false, days = ARRAY(
        SELECT unnest(ingest.lake_hours.days) UNION SELECT unnest(CAST(:days AS date[])) ORDER BY 1)"""
LOADED = f", loaded_at = clock_timestamp(), {', '.join(f'{name} = :{name}' for name in COUNTS)}"


def lock_lake(connection: Connection, tenant: Tenant) -> None:
    """Wait until no other load or gold run of the tenant is under way; the transaction's end lets go."""
    connection.execute(LOCK, {"tenant": tenant.id})


@contextmanager
def locked_lake(engine: Engine, tenant: Tenant) -> Iterator[Connection]:
    """The same lock, over many transactions of one connection.

    The lock lives and dies with the connection, so whoever has lost the lock cannot write to the book.
    """
    with engine.connect() as connection:
        connection.detach()  # closed at the end, not pooled with the lock still on it
        connection.execute(WATCH_DRIVER)
        connection.execute(KEEP_LOCK, {"tenant": tenant.id})
        connection.commit()
        yield connection


@contextmanager
def naming_outage(database: DatabaseSettings, doing: str) -> Iterator[None]:
    """Make the loss of Postgres a `LakeError` that names the server and what it interrupted."""
    try:
        yield
    except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
        reason = error if isinstance(error, psycopg.Error) else error.orig
        raise LakeError(
            f"Postgres at {database.host}:{database.port} went away while {doing}: {reason}. "
            "What was recorded until then stays; run it again for the rest"
        ) from error


def listings(connection: Connection, tenant: Tenant) -> dict[datetime, str]:
    """The listing with which each arrival hour was last loaded; `OWED` where it is to be loaded again."""
    with connection.begin():
        bind_tenant(connection, tenant)
        return {row.arrival_hour: row.listing for row in connection.execute(LISTINGS)}


def announce_loads(connection: Connection, tenant: Tenant, loads: Sequence[HourLoad]) -> None:
    """Note, before silver changes, which hours and days are about to change.

    Whatever a crash then leaves in silver is loaded again, and gold looks at those days in any case.
    """
    _write(connection, tenant, RECORD + TOUCHED, [_values(_uncounted(load), OWED) for load in loads])


def record_loads(connection: Connection, tenant: Tenant, loads: Iterable[tuple[HourLoad, str]]) -> None:
    """Note what was loaded with which listing; gold then knows the days, those of the replaced rows too."""
    _write(connection, tenant, RECORD + TOUCHED + LOADED, [_values(load, listing) for load, listing in loads])


def owe_loads(connection: Connection, tenant: Tenant, hours: Iterable[datetime]) -> None:
    """Note hours that bronze has and silver refused: each run tries them again, however old they are."""
    _write(connection, tenant, RECORD, [_values(HourLoad(hour), OWED) for hour in hours])


def _write(connection: Connection, tenant: Tenant, statement: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        with connection.begin():
            bind_tenant(connection, tenant)
            connection.execute(text(statement), [{"tenant": tenant.id} | row for row in rows])


def _values(load: HourLoad, listing: str) -> dict[str, Any]:
    return asdict(load) | {"listing": listing, "days": list(load.days)}


def _uncounted(load: HourLoad) -> HourLoad:
    return HourLoad(load.arrival_hour, days=load.days)


def hour_load(arrival_hour: datetime, objects: int, counts: list[dict[str, Any]]) -> HourLoad:
    """The load of an hour from `counts`: by kind of row its rows, records and data files, a day in each."""
    records = {row["kind"]: row["records"] for row in counts}
    rows = {row["kind"]: row["rows"] for row in counts}
    files = [file for row in counts if row["kind"] in ("telemetry", "events") for file in row["files"]]
    return HourLoad(
        arrival_hour=arrival_hour,
        objects=objects,
        records=sum(records.values()),
        readings=records.get("telemetry", 0),
        events=records.get("events", 0),
        telemetry_rows=rows.get("telemetry", 0),
        quarantined=records.get("quarantine", 0),
        duplicates=records.get("duplicate", 0),
        days=tuple(sorted({EPOCH + timedelta(days=file.partition[0]) for file in files})),
    )
