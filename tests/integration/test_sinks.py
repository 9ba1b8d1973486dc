"""Running sinks pick up one new tenant after the other without a restart."""

from __future__ import annotations

import threading
import time

import orjson
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.kafka import Producer
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.silver import SilverSink


def test_each_new_tenant_is_picked_up(settings: Settings):
    sink, producer = SilverSink(settings), Producer(settings.kafka)
    thread = threading.Thread(target=sink.run)
    thread.start()
    try:
        for number in range(3):
            tenant = Tenant(f"newcomer{number}")
            create_tenant(settings, tenant)
            now = int(time.time() * 1000)
            record = orjson.dumps({"device_id": "d", "ts": now, "metrics": {"volt": 1.0}})
            producer.send_all(tenant.telemetry_topic, [("d", record)])
            deadline = time.monotonic() + 60
            while not _stored(settings, tenant):
                assert thread.is_alive()
                assert time.monotonic() < deadline, f"tenant {number} was not picked up"
                time.sleep(0.5)
    finally:
        sink.stop()
        thread.join()
        producer.close()


def _stored(settings: Settings, tenant: Tenant) -> int:
    with tenant_transaction(engine(settings.database), tenant) as connection:
        count: int = connection.execute(text("SELECT count(*) FROM silver.telemetry")).scalar_one()
    return count
