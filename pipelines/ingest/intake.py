"""What every gateway does with what a device sends: check it, hand it to Kafka, keep what is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from iotops.kafka import Producer
from iotops.metrics import INGEST_REJECTED
from iotops.records import Parsed, parse_batch
from iotops.settings import IngestSettings
from iotops.tenancy import Tenant
from pipelines.ingest.deadletter import CONTRACTS, Kind, letters

IDENTITY_MISMATCH = "identity_mismatch"
logger = logging.getLogger(__name__)


class Intake:
    """Takes records for one gateway; safe to use from several threads."""

    def __init__(self, settings: IngestSettings, producer: Producer, gateway: str) -> None:
        self._settings, self._producer, self._gateway = settings, producer, gateway

    def take(self, lines: Iterable[bytes], kind: Kind, tenant: Tenant, device_id: str | None) -> Parsed:
        """Check lines as sent by a device (None: by a fleet gateway) and return once Kafka has every one.

        Refused lines go to the tenant's dead letters. Raises `KafkaUnavailable` where Kafka has not
        acknowledged: then nothing is accepted, and what is sent again is stored once.
        """
        parsed = parse_batch(
            lines,
            CONTRACTS[kind],
            tenant_id=tenant.id,
            device_id=device_id,
            max_line_bytes=self._settings.max_line_bytes,
            max_future_s=self._settings.max_future_s,
        )
        topic = tenant.events_topic if kind == "events" else tenant.telemetry_topic
        if parsed.accepted:
            self._producer.send_all(topic, parsed.accepted)
        if parsed.rejected:
            limit = self._settings.max_line_bytes
            refused = letters(parsed.rejected, kind, self._gateway, device_id, limit)
            self._producer.send_all(tenant.deadletter_topic, refused)
        for rejection in parsed.rejected:
            INGEST_REJECTED.inc(tags={"topic": topic, "code": rejection.code})
            if rejection.code == IDENTITY_MISMATCH:
                logger.warning(
                    "audit: %s of tenant %s, through %s: %s",
                    device_id, tenant.id, self._gateway, rejection.message,
                )  # fmt: skip
        return parsed
