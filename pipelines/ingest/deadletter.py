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
from typing import Literal

import msgspec
import orjson
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.kafka import Producer
from iotops.lake import get, lake_filesystem, objects
from iotops.records import Contract, Event, Reading, Rejection, parse_batch
from iotops.settings import Settings
from iotops.tenancy import Tenant

Kind = Literal["telemetry", "events"]
CONTRACTS: dict[Kind, Contract] = {"telemetry": Reading, "events": Event}
BATCH = 500
REPLAYED = text("SELECT kafka_partition, kafka_offset FROM ingest.replayed WHERE topic = :topic")
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


def read_letters(settings: Settings, tenant: Tenant, code: str | None = None) -> Iterator[StoredLetter]:
    """The stored letters of a tenant, or those with one reason, in the order of their arrival hours."""
    lake = lake_filesystem(settings.lake)
    for path in sorted(objects(lake, f"{tenant.prefix('deadletter')}/raw")):
        for line in gzip.decompress(get(lake, path)).splitlines():
            stored = orjson.loads(line)
            letter = msgspec.json.decode(stored["value"], type=DeadLetter)
            if code is None or letter.code == code:
                yield StoredLetter(stored["partition"], stored["offset"], letter)


def replay(settings: Settings, tenant: Tenant, producer: Producer, code: str | None = None) -> ReplayOutcome:
    """Check the letters again, against the current contract, and send those that pass to where they belonged.

    A letter that passed is marked, so that a second run does not send it again; a crash before the mark makes
    it be sent twice, which silver recognises.
    """
    outcome = ReplayOutcome()
    with tenant_transaction(engine(settings.database), tenant) as connection:
        done = {(row[0], row[1]) for row in connection.execute(REPLAYED, {"topic": tenant.deadletter_topic})}
    fresh = []
    for stored in read_letters(settings, tenant, code):
        if (stored.partition, stored.offset) in done:
            outcome.replayed_before += 1
        else:
            fresh.append(stored)
    for start in range(0, len(fresh), BATCH):
        part = fresh[start : start + BATCH]
        passed = [stored for stored in part if _send(settings, tenant, producer, stored.letter)]
        outcome.accepted += len(passed)
        outcome.refused += len(part) - len(passed)
        _mark(settings, tenant, passed)
    return outcome


def _send(settings: Settings, tenant: Tenant, producer: Producer, letter: DeadLetter) -> bool:
    if letter.cut:
        return False
    parsed = parse_batch(
        [letter.sent],
        CONTRACTS[letter.kind],
        tenant_id=tenant.id,
        device_id=letter.device_id,
        max_line_bytes=settings.ingest.max_line_bytes,
        max_future_s=settings.ingest.max_future_s,
    )
    if not parsed.accepted:
        return False
    topic = tenant.events_topic if letter.kind == "events" else tenant.telemetry_topic
    producer.send_all([(topic, key, value) for key, value in parsed.accepted])
    return True


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
