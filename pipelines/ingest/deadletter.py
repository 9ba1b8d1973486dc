"""Dead letters: what the gateways refused, with the reason; read from the lake, and sent again.

A refused record goes to `deadletter_<tenant>` in Kafka, and the bronze sink stores it under the tenant's
`deadletter/` prefix, object by object as it stores bronze.
"""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import msgspec
import orjson
from pyarrow.fs import FileInfo, FileSelector, FileType
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.kafka import Producer, Record
from iotops.lake import get, lake_filesystem
from iotops.records import Contract, Event, Reading, Rejection, parse_batch
from iotops.settings import Settings
from iotops.tenancy import Tenant

Kind = Literal["telemetry", "events"]
CONTRACTS: dict[Kind, Contract] = {"telemetry": Reading, "events": Event}
BATCH = 500
REPLAYED = text("""
    SELECT kafka_partition, kafka_offset FROM ingest.replayed
    JOIN unnest(CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]))
        AS part (kafka_partition, kafka_offset) USING (kafka_partition, kafka_offset)
    WHERE topic = :topic""")
MARK = text("""
    INSERT INTO ingest.replayed (tenant_id, topic, kafka_partition, kafka_offset)
    VALUES (:tenant, :topic, :partition, :offset) ON CONFLICT DO NOTHING""")


class DeadLetter(msgspec.Struct, frozen=True):
    """A refused record: `raw` is base64 of what was sent, cut where it was larger than a record may be."""

    kind: Kind
    device_id: str | None
    code: str
    message: str
    gateway: str
    rejected_at: int
    raw: str
    cut: bool = False

    @property
    def sent(self) -> bytes:
        """What was sent."""
        return base64.b64decode(self.raw)


@dataclass(frozen=True)
class StoredLetter:
    """A dead letter with its place in Kafka, which names it."""

    partition: int
    offset: int
    letter: DeadLetter


@dataclass
class ReplayOutcome:
    """What became of the letters that were sent again."""

    accepted: int = 0
    refused: int = 0
    replayed_before: int = 0


def letter_of(rejection: Rejection, kind: Kind, gateway: str, device_id: str | None, max_bytes: int) -> bytes:
    """A refused line as a record of the dead-letter topic."""
    return msgspec.json.encode(
        DeadLetter(
            kind=kind,
            device_id=device_id,
            code=rejection.code,
            message=rejection.message,
            gateway=gateway,
            rejected_at=int(time.time() * 1000),
            raw=base64.b64encode(rejection.raw[:max_bytes]).decode(),
            cut=len(rejection.raw) > max_bytes,
        )
    )


def read_letters(
    settings: Settings, tenant: Tenant, code: str | None = None, *, newest_first: bool = False
) -> Iterator[StoredLetter]:
    """The stored letters of a tenant, or those with one reason, object by object in the order of arrival.

    An object is read, and a day's are listed, when its first letter is asked for.
    """
    lake, step = lake_filesystem(settings.lake), -1 if newest_first else 1
    root = f"{tenant.prefix('deadletter')}/raw"
    days = sorted(info.path for info in lake.get_file_info(FileSelector(root, allow_not_found=True)))
    for day in days[::step]:
        found = lake.get_file_info(FileSelector(day, recursive=True))
        written = sorted((info for info in found if info.type == FileType.File), key=_written)
        for info in written[::step]:
            for line in gzip.decompress(get(lake, info.path)).splitlines()[::step]:
                stored = orjson.loads(line)
                letter = msgspec.json.decode(stored["value"], type=DeadLetter)
                if code is None or letter.code == code:
                    yield StoredLetter(stored["partition"], stored["offset"], letter)


def _written(info: FileInfo) -> tuple[str, int]:
    """The hour's folder, and when an object was written."""
    return info.path.rpartition("/")[0], info.mtime_ns


def replay(settings: Settings, tenant: Tenant, producer: Producer, code: str | None = None) -> ReplayOutcome:
    """Check the letters again, against the current contract, and send those that pass to where they belonged.

    A letter that passed is marked, so that a second run does not send it again; a crash before the mark makes
    it be sent twice, which silver recognises.
    """
    outcome, letters = ReplayOutcome(), read_letters(settings, tenant, code)
    while part := list(islice(letters, BATCH)):
        places = {
            "topic": tenant.deadletter_topic,
            "partitions": [stored.partition for stored in part],
            "offsets": [stored.offset for stored in part],
        }
        with tenant_transaction(engine(settings.database), tenant) as connection:
            done = {(row[0], row[1]) for row in connection.execute(REPLAYED, places)}
        fresh = [stored for stored in part if (stored.partition, stored.offset) not in done]
        checked = {stored: _record(settings, tenant, stored.letter) for stored in fresh}
        passed = {stored: record for stored, record in checked.items() if record}
        producer.send_all(list(passed.values()))
        _mark(settings, tenant, list(passed))
        outcome.accepted += len(passed)
        outcome.refused += len(fresh) - len(passed)
        outcome.replayed_before += len(part) - len(fresh)
    return outcome


def _record(settings: Settings, tenant: Tenant, letter: DeadLetter) -> Record | None:
    """What is sent again; nothing for a letter that does not pass."""
    if letter.cut:
        return None
    parsed = parse_batch(
        [letter.sent],
        CONTRACTS[letter.kind],
        tenant_id=tenant.id,
        device_id=letter.device_id,
        max_line_bytes=settings.ingest.max_line_bytes,
        max_future_s=settings.ingest.max_future_s,
    )
    topic = tenant.events_topic if letter.kind == "events" else tenant.telemetry_topic
    return next(((topic, key, value) for key, value in parsed.accepted), None)


def _mark(settings: Settings, tenant: Tenant, passed: Sequence[StoredLetter]) -> None:
    if not passed:
        return
    marks = [
        {
            "tenant": tenant.id,
            "topic": tenant.deadletter_topic,
            "partition": stored.partition,
            "offset": stored.offset,
        }
        for stored in passed
    ]
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(MARK, marks)
