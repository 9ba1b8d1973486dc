"""What every gateway does with what devices send: check it, hand it to Kafka, keep what is refused."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.errors import TenantError
from iotops.kafka import LINGER_MS, Record, open_producer
from iotops.metrics import INGEST_REJECTED
from iotops.records import Parsed, parse_batch
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.deadletter import CONTRACTS, Kind, letter_of

IDENTITY_MISMATCH = "identity_mismatch"
UNKNOWN_FOR_S = 5.0
EXISTS = text("SELECT EXISTS (SELECT FROM platform.tenants WHERE tenant_id = :tenant)")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """Lines of an authenticated sender; `device_id` is None for a gateway of its tenant's whole fleet."""

    tenant: Tenant
    kind: Kind
    device_id: str | None
    lines: Sequence[bytes]


class Intake:
    """Takes records for one gateway; safe to use from several threads.

    `linger_ms` is how long the producer waits for the records of other threads, to send them together.
    """

    def __init__(self, settings: Settings, gateway: str, *, linger_ms: int = LINGER_MS) -> None:
        self._limits, self._gateway = settings.ingest, gateway
        self._engine = engine(settings.database)
        self._producer = open_producer(settings.kafka, linger_ms=linger_ms)
        self._known: set[str] = set()
        self._unknown: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, batch: Iterable[Sent]) -> list[Parsed]:
        """Check what was sent and return once Kafka has every accepted record.

        Refused lines go to the tenant's dead letters. Raises `KafkaUnavailable` where Kafka has not
        acknowledged: then nothing is accepted, and what is sent again is stored once.
        """
        results: list[Parsed] = []
        records: list[Record] = []
        for sent in batch:
            parsed = self._check(sent)
            topic = sent.tenant.events_topic if sent.kind == "events" else sent.tenant.telemetry_topic
            records += [(topic, key, value) for key, value in parsed.accepted]
            records += self._refuse(sent, parsed, topic)
            results.append(parsed)
        self._producer.send_all(records)
        return results

    def require(self, tenant: Tenant) -> None:
        """Raise `TenantError` for a tenant that was never created: Kafka has no topic for it."""
        with self._lock:
            known = tenant.id in self._known
            unknown = time.monotonic() - self._unknown.get(tenant.id, float("-inf")) < UNKNOWN_FOR_S
        if not known and not unknown:
            with tenant_transaction(self._engine, tenant) as connection:
                known = connection.execute(EXISTS, {"tenant": tenant.id}).scalar_one()
            with self._lock:
                if known:
                    self._known.add(tenant.id)
                else:
                    self._unknown[tenant.id] = time.monotonic()
        if not known:
            raise TenantError(f"tenant {tenant.id!r} does not exist: `iotops tenant create` makes it")

    def close(self) -> None:
        """Disconnect from Kafka."""
        self._producer.close()

    def _check(self, sent: Sent) -> Parsed:
        return parse_batch(
            sent.lines,
            CONTRACTS[sent.kind],
            tenant_id=sent.tenant.id,
            device_id=sent.device_id,
            max_line_bytes=self._limits.max_line_bytes,
            max_future_s=self._limits.max_future_s,
        )

    def _refuse(self, sent: Sent, parsed: Parsed, topic: str) -> list[Record]:
        """Count what was refused, note an attempt at another's identity, and keep it as dead letters."""
        found = []
        for rejection in parsed.rejected:
            INGEST_REJECTED.inc(tags={"topic": topic, "code": rejection.code})
            if rejection.code == IDENTITY_MISMATCH:
                logger.warning(
                    "audit: %s of tenant %s, through %s: %s",
                    sent.device_id, sent.tenant.id, self._gateway, rejection.message,
                )  # fmt: skip
            limit = self._limits.max_line_bytes
            letter = letter_of(rejection, sent.kind, self._gateway, sent.device_id, limit)
            found.append((sent.tenant.deadletter_topic, sent.device_id or "", letter))
        return found
