"""The alerting sink on the real servers: once in Postgres, once in Kafka, whatever breaks off."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.kafka import Producer, open_producer, read_topic
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.alerting import publish as publishing
from pipelines.ingest.alerting import store
from tests.integration.sinks import running

RULES = """
rules:
  - {name: hot, kind: threshold, metric: temp, above: 80, clear: 75, severity: error}
  - {name: burst, kind: burst, types: [error], count: 2, within: 1h, severity: critical}
  - {name: silent, kind: silence, after: 3s, severity: warning, tenants: [quieting]}
"""
ALERTS = text("""
    SELECT device_id, rule, metric, severity, resolved_at IS NOT NULL AS resolved, evidence
    FROM silver.alerts ORDER BY opened_at, device_id""")


@pytest.fixture
def ruled(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with rules of the test, and a checkpoint at the end only."""
    (tmp_path / "alerts.yaml").write_text(RULES)
    return settings.model_copy(update={"configs": tmp_path})


def send(producer: Producer, tenant: Tenant, temps: list[float], start: int, device: str = "pump-1") -> None:
    now = int(time.time() * 1000) - 600_000
    producer.send_all(
        [
            (
                tenant.telemetry_topic,
                device,
                orjson.dumps({"device_id": device, "ts": now + start + i, "metrics": {"temp": temp}}),
            )
            for i, temp in enumerate(temps)
        ]
    )


def stored(settings: Settings, tenant: Tenant) -> list[tuple[str, str, bool]]:
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return [(row.device_id, row.rule, row.resolved) for row in connection.execute(ALERTS)]


def published(settings: Settings, tenant: Tenant) -> list[tuple[str, str, str]]:
    messages = [
        orjson.loads(value)
        for batch in read_topic(settings.kafka, tenant.alerts_topic)
        for value in batch.values
    ]
    return [(each["device_id"], each["rule"], each["status"]) for each in messages]


def wait_for(expected: object, found: object) -> None:
    deadline = time.monotonic() + 60
    while found() != expected:  # type: ignore[operator]
        assert time.monotonic() < deadline, found()  # type: ignore[operator]
        time.sleep(0.3)


def test_alerts_go_to_postgres_and_kafka_and_state_survives_a_restart(ruled: Settings):
    tenant = Tenant("alerting")
    create_tenant(ruled, tenant)
    producer = open_producer(ruled.kafka)
    event = {"device_id": "pump-1", "ts": int(time.time() * 1000), "type": "error", "error_code": "E1"}
    with running(ruled, "alerts"):
        send(producer, tenant, [70, 90, 91], 0)
        producer.send_all([(tenant.events_topic, "pump-1", orjson.dumps(event))])
        wait_for([("pump-1", "hot", False)], lambda: stored(ruled, tenant))
    with running(ruled, "alerts"):  # the breach and the first error are remembered
        send(producer, tenant, [92, 70], 10)
        producer.send_all([(tenant.events_topic, "pump-1", orjson.dumps(event))])
        both = [("pump-1", "hot", True), ("pump-1", "burst", False)]
        wait_for(both, lambda: stored(ruled, tenant))
        wait_for(3, lambda: len(published(ruled, tenant)))
    producer.close()
    assert sorted(published(ruled, tenant)) == [
        ("pump-1", "burst", "open"), ("pump-1", "hot", "open"), ("pump-1", "hot", "resolved"),
    ]  # fmt: skip


def test_reading_again_after_a_crash_finds_the_same_alerts(ruled: Settings, monkeypatch: pytest.MonkeyPatch):
    tenant = Tenant("alerting_again")
    create_tenant(ruled, tenant)
    producer = open_producer(ruled.kafka)
    with monkeypatch.context() as dying:  # a killed member keeps nothing
        dying.setattr("pipelines.ingest.alerting.sink.checkpoint.save", lambda *_: None)
        dying.setattr("pipelines.ingest.alerting.sink.AlertSink.commit", lambda *_: None)
        with running(ruled, "alerts"):
            send(producer, tenant, [70, 90, 70, 90], 0)
            wait_for([("pump-1", "hot", True), ("pump-1", "hot", False)], lambda: stored(ruled, tenant))
            wait_for(3, lambda: len(published(ruled, tenant)))
    with running(ruled, "alerts"):
        send(producer, tenant, [70], 10)
        wait_for([("pump-1", "hot", True)] * 2, lambda: stored(ruled, tenant))
        wait_for(4, lambda: len(published(ruled, tenant)))
    producer.close()


def test_a_message_whose_sending_broke_off_is_sent_once(ruled: Settings, monkeypatch: pytest.MonkeyPatch):
    tenant = Tenant("alerting_broken")
    create_tenant(ruled, tenant)
    producer = open_producer(ruled.kafka)
    database = engine(ruled.database)
    with running(ruled, "alerts"):
        send(producer, tenant, [90], 0)
        send(producer, tenant, [95], 0, "pump-2")
        wait_for(2, lambda: len(published(ruled, tenant)))
    forget_one = (
        "UPDATE ingest.alert_messages SET published_at = NULL WHERE position = (SELECT min(position) FROM m)"
    )
    mine = "WITH m AS (SELECT position FROM ingest.alert_messages)"
    with tenant_transaction(database, tenant) as connection:
        connection.execute(text(f"{mine} {forget_one}"))
        assert len(store.unpublished(connection, tenant, 10)) == 1
    assert publishing.publish(database, ruled.kafka, producer, tenant) == 0  # it has not settled
    monkeypatch.setattr(publishing, "SETTLED", publishing.timedelta(0))
    assert publishing.publish(database, ruled.kafka, producer, tenant) == 0  # it is in the topic
    with tenant_transaction(database, tenant) as connection:
        assert store.unpublished(connection, tenant, 10) == []
    assert len(published(ruled, tenant)) == 2
    producer.close()


def test_a_device_that_goes_quiet_is_told_of_and_again_when_it_speaks(ruled: Settings):
    tenant = Tenant("quieting")
    create_tenant(ruled, tenant)
    producer = open_producer(ruled.kafka)
    with running(ruled, "alerts"):
        send(producer, tenant, [70], 0)
        wait_for([("pump-1", "silent", False)], lambda: stored(ruled, tenant))
        send(producer, tenant, [70], 1)
        wait_for(("pump-1", "silent", True), lambda: stored(ruled, tenant)[0])
    producer.close()
