"""Running sinks: new tenants are picked up, records that come again are stored once, old days go."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import orjson
import pytest
from sqlalchemy import Connection, text

from iotops.database import driver, engine, tenant_transaction
from iotops.kafka import Batch, Partition, open_producer
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.silver import SilverSink
from pipelines.ingest.silver_rows import TELEMETRY, packed, staged
from pipelines.ingest.times import DAY_MS
from tests.integration.sinks import running, stored

PATIENCE_S = 120  # a sink takes five seconds; beside other tests on a slow machine much longer


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def chosen(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The stack's settings with each Kafka client."""
    kafka = settings.kafka.model_copy(update={"client": request.param})
    return settings.model_copy(update={"kafka": kafka})


def test_each_new_tenant_is_picked_up(chosen: Settings):
    client, producer = chosen.kafka.client.partition("-")[0], open_producer(chosen.kafka)
    with running(chosen, "silver"):
        for number in range(3):
            tenant = Tenant(f"{client}{number}")
            create_tenant(chosen, tenant)
            now = int(time.time() * 1000)
            record = orjson.dumps({"device_id": "d", "ts": now, "metrics": {"volt": 1.0}})
            producer.send_all([(tenant.telemetry_topic, "d", record)])
            deadline = time.monotonic() + PATIENCE_S
            while not stored(chosen, tenant):
                assert time.monotonic() < deadline, f"tenant {number} was not picked up"
                time.sleep(0.5)
    producer.close()


def test_a_record_that_is_sent_again_is_stored_once(settings: Settings):
    tenant, producer = Tenant("repeating"), open_producer(settings.kafka)
    create_tenant(settings, tenant)
    now = int(time.time() * 1000)
    first = {"device_id": "d", "ts": now, "seq": 1, "metrics": {"volt": 1.0}}
    unnumbered = {"device_id": "d", "ts": now, "metrics": {"volt": 1.0}}
    event = {"device_id": "d", "ts": now, "type": "error", "error_code": "E1"}
    with running(settings, "silver"):
        for round in (1, 2):  # two batches, each with copies of its own
            readings = [first, first, unnumbered, unnumbered, first | {"ts": now + 1}, first | {"seq": 2}]
            producer.send_all([(tenant.telemetry_topic, "d", orjson.dumps(each)) for each in readings])
            producer.send_all([(tenant.events_topic, "d", orjson.dumps(event))] * 2)
            _wait_for_offset(settings, tenant, tenant.telemetry_topic, round * 6)
            _wait_for_offset(settings, tenant, tenant.events_topic, round * 2)
    producer.close()
    assert stored(settings, tenant) == 4
    with tenant_transaction(engine(settings.database), tenant) as connection:
        assert connection.execute(text("SELECT count(*) FROM silver.events")).scalar_one() == 1


def test_a_merge_looks_up_each_record_by_index(settings: Settings):
    first, second = Tenant("indexed"), Tenant("indexed_later")
    today = datetime.now(UTC).date()
    with engine(settings.database).begin() as connection:
        connection.execute(text("SELECT silver.add_day(:day)"), {"day": today})
    _merge(settings, first, 20_000)
    with engine(settings.database, as_owner=True).begin() as connection:
        connection.execute(text("ANALYZE silver.telemetry"))  # which knows nothing of the second tenant
    _merge(settings, second, 500)
    plan = _merge(settings, second, 500, "EXPLAIN")
    assert re.search(r"Index Cond: .*tenant_id.*device_id = s\.device_id.*ts = s\.ts", plan), plan
    assert "Scan on telemetry" not in plan, plan


def _merge(settings: Settings, tenant: Tenant, records: int, explain: str = "") -> str:
    """What the silver sink does with a batch, and what Postgres answers."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(text(TELEMETRY.open_staging))
        with driver(connection).cursor().copy(TELEMETRY.copy_staging) as copy:
            copy.write(packed(staged(TELEMETRY, _batch(records), int(time.time() * 1000))))
        parameters = {"tenant": tenant.id, "partition": 0}
        answer = connection.execute(text(f"{explain} {TELEMETRY.merge}"), parameters)
        return "\n".join(line for (line,) in answer) if explain else ""


def _batch(records: int) -> Batch:
    now = int(time.time() * 1000)
    values = [
        orjson.dumps({"device_id": f"d-{n}", "ts": now, "seq": n, "metrics": {"volt": 1.0}})
        for n in range(records)
    ]
    partition = Partition("telemetry_indexed", 0)
    return Batch(partition, list(range(records)), [now] * records, [b""] * records, values)


def test_days_beyond_the_retention_are_dropped_whole(settings: Settings):
    pool = engine(settings.database)
    old = datetime.now(UTC).date() - timedelta(days=settings.ingest.hot_days + 1)
    with pool.begin() as connection:
        connection.execute(text("SELECT silver.add_day(:day)"), {"day": old})
        assert _partition(connection, old)
        sink = SilverSink(settings)
    sink.tick()
    sink.consumer.close()
    with pool.connect() as connection:
        assert not _partition(connection, old)


def test_a_reader_holds_up_no_new_day_and_the_retention_until_it_is_done(settings: Settings):
    pool, today = engine(settings.database), datetime.now(UTC).date()
    granted = create_tenant(settings, Tenant("reading"))
    login = settings.database.model_copy(
        update={"user": granted.database_role, "password": granted.database_password}
    )
    add, drop = text("SELECT silver.add_day(:day)"), text("SELECT silver.drop_days_before(:day)")
    old = today - timedelta(days=399)
    with pool.begin() as connection:
        connection.execute(add, {"day": old})
    with engine(login).begin() as reader:
        reader.execute(text("SELECT count(*) FROM silver.telemetry"))  # its locks stay
        with pool.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            for day in (old - timedelta(days=1), old + timedelta(days=1)):
                connection.execute(add, {"day": day})
                assert _partition(connection, day)
        with pool.begin() as connection:
            assert connection.execute(drop, {"day": old}).scalar_one() == 0
    with pool.begin() as connection:
        assert connection.execute(drop, {"day": old}).scalar_one() == 2


def test_a_record_of_a_wrong_clock_counts_as_arrived_on_a_day_that_may_be(settings: Settings):
    tenant = Tenant("misdated")
    create_tenant(settings, tenant)
    sink, batch = SilverSink(settings), _batch(3)
    stamps = [0, batch.timestamps[0], batch.timestamps[0] + 10 * 365 * DAY_MS]
    sink.write(replace(batch, partition=Partition(tenant.telemetry_topic, 0), timestamps=stamps))
    sink.consumer.close()
    assert stored(settings, tenant) == 3


def _partition(connection: Connection, day: date) -> bool:
    name = f"silver.telemetry_{day:%Y%m%d}"
    return connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar_one() is not None


def _wait_for_offset(settings: Settings, tenant: Tenant, topic: str, records: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    query = text("SELECT coalesce(sum(next_offset), 0) FROM ingest.offsets WHERE topic = :topic")
    while time.monotonic() < deadline:
        with tenant_transaction(engine(settings.database), tenant) as connection:
            if connection.execute(query, {"topic": topic}).scalar_one() >= records:
                return
        time.sleep(0.2)
    raise AssertionError(f"{records} records were not consumed")
