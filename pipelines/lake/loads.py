"""The book of loads in Postgres: which state of each arrival hour silver holds, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from iotops.tenancy import Tenant


@dataclass(frozen=True)
class HourLoad:
    """What became of an arrival hour: records = readings + events + quarantined + duplicates.

    `telemetry_rows` counts the long rows of the readings; the days are those of the event times.
    """

    arrival_hour: datetime
    objects: int = 0
    records: int = 0
    readings: int = 0
    events: int = 0
    telemetry_rows: int = 0
    quarantined: int = 0
    duplicates: int = 0
    first_day: date | None = None
    last_day: date | None = None


NAMES = [field.name for field in fields(HourLoad)]
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('lake'), hashtext(:tenant))")
LOADED = text("SELECT arrival_hour, listing FROM ingest.lake_hours")
RECORD = text(f"""
    INSERT INTO ingest.lake_hours (tenant_id, listing, loaded_at, {", ".join(NAMES)})
    VALUES (:tenant, :listing, clock_timestamp(), {", ".join(f":{name}" for name in NAMES)})
    ON CONFLICT (tenant_id, arrival_hour) DO UPDATE SET listing = :listing, loaded_at = clock_timestamp(),
        in_gold = false, {", ".join(f"{name} = :{name}" for name in NAMES if not name.endswith("_day"))},
        first_day = least(:first_day, ingest.lake_hours.first_day),
        last_day = greatest(:last_day, ingest.lake_hours.last_day)""")


def lock_lake(connection: Connection, tenant: Tenant) -> None:
    """Wait until no other load or gold run of the tenant is under way; the transaction's end lets go."""
    connection.execute(LOCK, {"tenant": tenant.id})


def loaded_listings(connection: Connection) -> dict[datetime, str]:
    """The listing with which each arrival hour was last loaded."""
    return {row.arrival_hour: row.listing for row in connection.execute(LOADED)}


def record_load(connection: Connection, tenant: Tenant, load: HourLoad, listing: str) -> None:
    """Note a load; gold then knows which days it touched, those of the replaced rows too."""
    connection.execute(RECORD, {"tenant": tenant.id, "listing": listing, **asdict(load)})


def hour_load(arrival_hour: datetime, objects: int, counts: list[dict[str, Any]]) -> HourLoad:
    """The load of an hour from `counts`: by kind of row its rows, records, first and last event time."""
    records = {row["kind"]: row["records"] for row in counts}
    rows = {row["kind"]: row["rows"] for row in counts}
    written = [row for row in counts if row["kind"] in ("telemetry", "events")]
    return HourLoad(
        arrival_hour=arrival_hour,
        objects=objects,
        records=sum(records.values()),
        readings=records.get("telemetry", 0),
        events=records.get("events", 0),
        telemetry_rows=rows.get("telemetry", 0),
        quarantined=records.get("quarantine", 0),
        duplicates=records.get("duplicate", 0),
        first_day=min((row["first"].date() for row in written), default=None),
        last_day=max((row["last"].date() for row in written), default=None),
    )
