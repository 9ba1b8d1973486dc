"""What the database tells of a device, of a time that a question names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from ray_apps.copilot.devices import DeviceRecords
from ray_apps.copilot.period import Period
from ray_apps.copilot.sentences import incidents

INSERT = text("""
    INSERT INTO silver.events (tenant_id, device_id, ts, type, severity, error_code, kafka_partition,
        kafka_offset, arrival_day)
    VALUES (:tenant, 'pump-1', :ts, :type, 'info', :code, 0, :offset, current_date)""")


def test_an_error_is_told_however_much_else_happened_since(settings: Settings):
    tenant, now = Tenant("eventful"), datetime.now(UTC)
    create_tenant(settings, tenant)
    rows = [
        {"tenant": tenant.id, "ts": now - timedelta(hours=1), "type": "error", "code": "E421", "offset": 0}
    ]
    rows += [
        {"tenant": tenant.id, "ts": now - timedelta(minutes=n), "type": "note", "code": None, "offset": n}
        for n in range(1, 41)
    ]
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(INSERT, rows)
    records, period = DeviceRecords(settings.database), Period(now - timedelta(hours=2), now)
    within = records.insights(tenant, "pump-1", period)
    assert within
    assert "E421 (1 time" in incidents(within["events"], "pump-1", period)[0]
    times = [event["ts"] for event in within["events"]]
    assert times == sorted(times, reverse=True)
    ever = records.insights(tenant, "pump-1")
    assert ever
    assert {event["error_code"] for event in ever["events"]} == {None}, "the latest, whatever they are"
