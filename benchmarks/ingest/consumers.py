"""How fast records leave Kafka: the bare clients, and the sinks over each."""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer as ConfluentConsumer
from kafka import KafkaConsumer
from sqlalchemy import text

from iotops.database import engine
from iotops.kafka import open_consumer, open_producer
from iotops.lake import lake_filesystem
from iotops.settings import KafkaSettings, Settings
from iotops.tenancy import Tenant
from pipelines.ingest.members import SINKS
from pipelines.ingest.simulate import Fleet
from pipelines.ingest.sink import POLL_MS

DEVICES = 2000
PART = 5000
BATCH = 5000
CLIENTS = ("kafka-python", "confluent-kafka")


class Stopwatch:
    """Records per second from the first batch on, so that joining a group is not measured."""

    def __init__(self, wanted: int) -> None:
        self._wanted, self._seen, self._first, self._started = wanted, 0, 0, 0.0

    def saw(self, records: int) -> None:
        """Some records are done."""
        if records and not self._started:
            self._first, self._started = records, time.perf_counter()
        self._seen += records

    @property
    def running(self) -> bool:
        """Whether some are not done yet."""
        return self._seen < self._wanted

    def rate(self) -> float:
        """Records per second."""
        return (self._seen - self._first) / (time.perf_counter() - self._started)


def fill(settings: Settings, tenant: Tenant, records: int) -> None:
    """Put readings of a simulated fleet into the tenant's topic, as the gateways write them."""
    fleet, producer = Fleet(DEVICES), open_producer(settings.kafka, timeout_s=60)
    now = time.time_ns() // 1_000_000
    for start in range(0, records, PART):
        numbers = np.arange(start, min(start + PART, records)) % DEVICES
        found = [orjson.loads(record) for record in fleet.read(numbers, now + start)]
        producer.send_all(
            [
                (
                    tenant.telemetry_topic,
                    each["device_id"],
                    orjson.dumps({**each, "tenant_id": tenant.id, "v": 1}),
                )
                for each in found
            ]
        )
    producer.close()


def bare_python(settings: KafkaSettings, topic: str, records: int) -> float:
    """kafka-python, as its documentation uses it."""
    client = KafkaConsumer(
        topic,
        bootstrap_servers=settings.bootstrap_servers,
        group_id=str(uuid.uuid4()),
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        enable_auto_commit=False,
    )
    watch = Stopwatch(records)
    while watch.running:
        watch.saw(sum(map(len, client.poll(timeout_ms=POLL_MS, max_records=BATCH).values())))
    client.close(autocommit=False)
    return watch.rate()


def bare_confluent(settings: KafkaSettings, topic: str, records: int) -> float:
    """confluent-kafka, as its documentation uses it."""
    client = ConfluentConsumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": str(uuid.uuid4()),
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "enable.auto.commit": False,
        }
    )
    client.subscribe([topic])
    watch = Stopwatch(records)
    while watch.running:
        watch.saw(len(client.consume(BATCH, timeout=POLL_MS / 1000)))
    client.close()
    return watch.rate()


BARE = {"kafka-python": bare_python, "confluent-kafka": bare_confluent}


def interface_rate(settings: Settings, client: str, tenant: Tenant, records: int) -> float:
    """What stands before every sink: a poll that gives columns and waits for gaps, nothing done with them."""
    consumer = open_consumer(
        settings.kafka.model_copy(update={"client": client}),
        group=str(uuid.uuid4()),
        topics=f"^{tenant.telemetry_topic}$",
    )
    watch = Stopwatch(records)
    while watch.running:
        watch.saw(sum(map(len, consumer.poll(timeout_ms=POLL_MS, max_records=BATCH))))
    consumer.close()
    return watch.rate()


def sink_rate(settings: Settings, name: str, client: str, tenant: Tenant, records: int) -> float:
    """One member of a sink, in this process, in a group of its own, until everything is stored."""
    forget(settings, tenant)
    chosen = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"client": client})})

    base: Any = SINKS[name]

    class Measured(base):
        """A sink that reads this tenant's readings alone, and stores the last ones as soon as it has them."""

        settings: Settings
        topics = f"^{tenant.telemetry_topic}$"

        def tick(self) -> None:
            if self.progress.stored + self.progress.waiting >= records:
                at_once = self.settings.ingest.model_copy(update={"bronze_roll_seconds": 0.0})
                self.settings = self.settings.model_copy(update={"ingest": at_once})
            super().tick()

    Measured.name = f"{name}-{uuid.uuid4()}"
    sink, watch, seen = Measured(chosen), Stopwatch(records), 0
    try:
        while watch.running:
            sink.step()
            watch.saw(sink.progress.stored - seen)
            seen = sink.progress.stored
    finally:
        sink.consumer.close()
    return watch.rate()


def forget(settings: Settings, tenant: Tenant) -> None:
    """Empty what the silver sink and alerting wrote, so that the next run starts at the beginning."""
    lake_filesystem(settings.lake).delete_dir_contents(tenant.prefix("alerting"), missing_dir_ok=True)
    with engine(settings.database, as_owner=True).begin() as connection:
        connection.execute(
            text("TRUNCATE silver.telemetry, silver.alerts, ingest.alert_messages, ingest.offsets")
        )
