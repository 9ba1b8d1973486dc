"""Messages about alerts to `alerts_<tenant>`, once each, without trusting broker transactions.

A message is marked as attempted before it is sent and as published once Kafka has it. One that a crash left
between the two is looked up in the topic before it is sent again.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import Engine

from iotops.database import tenant_transaction
from iotops.kafka import Producer, read_topic
from iotops.settings import KafkaSettings
from iotops.tenancy import Tenant
from pipelines.ingest.alerting import store
from pipelines.ingest.alerting.store import Message

LIMIT = 1000
SETTLED = timedelta(seconds=30)  # by then a send that broke off has reached the topic, or never will
logger = logging.getLogger(__name__)


class Published(msgspec.Struct):
    """What identifies a message in the topic."""

    alert_id: str
    status: str


def publish(engine: Engine, kafka: KafkaSettings, producer: Producer, tenant: Tenant) -> int:
    """Send what is due of a tenant; returns how many. Raises `KafkaUnavailable`: then it is due still.

    Nothing is sent while an attempt that broke off has not settled, so that the order holds.
    """
    with tenant_transaction(engine, tenant) as holder:
        if not store.lock(holder, tenant):
            return 0
        messages = store.unpublished(holder, tenant, LIMIT)
        attempted = [message for message in messages if message.attempted_at]
        if any(each.attempted_at and each.attempted_at > datetime.now(UTC) - SETTLED for each in attempted):
            return 0
        if attempted:
            found = _in_topic(kafka, tenant)
            there = [message for message in attempted if (message.alert_id, message.status) in found]
            if there:
                store.mark(holder, "published_at", there)
            messages = [message for message in messages if message not in there]
        if not messages:
            return 0
        with tenant_transaction(engine, tenant) as connection:  # seen by the next even if this process dies
            store.mark(connection, "attempted_at", messages)
        producer.send_all([_record(tenant, message) for message in messages])
        store.mark(holder, "published_at", messages)
        return len(messages)


def _record(tenant: Tenant, message: Message) -> tuple[str, str, bytes]:
    return tenant.alerts_topic, message.device_id, message.content


def _in_topic(kafka: KafkaSettings, tenant: Tenant) -> set[tuple[str, str]]:
    found = set()
    for batch in read_topic(kafka, tenant.alerts_topic):
        for value in batch.values:
            message = msgspec.json.decode(value, type=Published)
            found.add((message.alert_id, message.status))
    logger.info("%d messages in %s were compared with those due", len(found), tenant.alerts_topic)
    return found
