"""Bronze to silver to gold on the real object store, catalog, database and cluster; each stage twice."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import get, iceberg_catalog, lake_filesystem, put
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.loads import HourLoad
from pipelines.lake.silver_to_gold import Sizes, build_gold
from ray_apps.copilot.evidence.devices import DeviceRecords

FIRST = datetime(2026, 11, 2, 15, tzinfo=UTC)
SECOND = FIRST + timedelta(hours=1)
DAYS = [date(2026, 10, 20) + timedelta(days=day) for day in range(6)]
NOW = datetime(2026, 11, 2, 18, tzinfo=UTC)
DEVICES = [f"pump-{number}" for number in range(6)]


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def readings(days: list[date], devices: list[str] = DEVICES) -> list[dict[str, Any]]:
    """Four readings a day; on the last of DAYS pump-0 vibrates as none did before."""
    return [
        {
            "device_id": device,
            "ts": ms(datetime(day.year, day.month, day.day, hour, tzinfo=UTC)),
            "model": "HX-200",
            "metrics": {
                "vibration": 90 if device == "pump-0" and day == DAYS[-1] else 40 + hour % 5,
                "volt": 170 + hour % 7,
            },
        }
        for day in days
        for device in devices
        for hour in (5, 11, 17, 23)
    ]


def put_object(
    settings: Settings, topic: str, hour: datetime, records: list[Any], start: int, partition: int = 0
) -> None:
    """A bronze object as the sink writes it."""
    lines = [
        json.dumps(
            {"topic": topic, "partition": partition, "offset": start + number, "timestamp": ms(hour) + 1000,
             "value": record if isinstance(record, str) else json.dumps(record)}
        )
        for number, record in enumerate(records)
    ]  # fmt: skip
    tenant = topic.partition("_")[2]
    path = f"{tenant}/bronze/raw/{hour:%Y-%m-%d/%H}/{topic}-{partition}-{start:020d}.jsonl.gz"
    put(lake_filesystem(settings.lake), path, gzip.compress("\n".join(lines).encode() + b"\n"))


def silver(settings: Settings, tenant: Tenant, table: str) -> pa.Table:
    catalog = iceberg_catalog(settings.lake, settings.database)
    return catalog.load_table(f"{tenant.id}.{table}").scan().to_arrow()


def gold(settings: Settings, tenant: Tenant, query: str) -> list[Any]:
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def tenant(settings: Settings, request: pytest.FixtureRequest) -> Tenant:
    """A tenant of this test's own, with two arrival hours of bronze."""
    tenant = Tenant(f"lake_{request.node.name.removeprefix('test_')[:20]}".rstrip("_"))
    create_tenant(settings, tenant)
    sent = readings(DAYS)
    put_object(settings, tenant.telemetry_topic, FIRST, [*sent[:100], '{"broken"'], 0)
    put_object(settings, tenant.telemetry_topic, SECOND, sent[100:], 101)
    error = {"device_id": "pump-0", "ts": ms(datetime(2026, 10, 25, 12, tzinfo=UTC)), "type": "error",
             "severity": "error", "error_code": "E421", "message": "vibration"}  # fmt: skip
    put_object(settings, tenant.events_topic, SECOND, [error], 0)
    return tenant


def test_counts_and_rows_of_a_load(settings: Settings, tenant: Tenant) -> None:
    first, second = load_silver(settings, tenant)
    assert first == HourLoad(FIRST, 1, 101, 100, 0, 200, 1, 0, tuple(DAYS[:5]))
    assert second == HourLoad(SECOND, 2, 45, 44, 1, 88, 0, 0, tuple(DAYS[4:]))
    telemetry = silver(settings, tenant, "telemetry")
    assert telemetry.num_rows == 6 * 6 * 4 * 2
    assert len(telemetry.group_by(["device_id", "ts", "metric"]).aggregate([])) == telemetry.num_rows
    (bad,) = silver(settings, tenant, "quarantine").to_pylist()
    assert (bad["raw"], bad["kafka_offset"], bad["arrival_hour"]) == ('{"broken"', 100, FIRST)
    assert bad["reason"].startswith("invalid_json")
    assert silver(settings, tenant, "events")["error_code"].to_pylist() == ["E421"]


def test_again_only_changed_hours_are_replaced(settings: Settings, tenant: Tenant) -> None:
    load_silver(settings, tenant)
    before = silver(settings, tenant, "telemetry").num_rows
    assert load_silver(settings, tenant) == [], "nothing changed"

    # The broken record is mended and one reading more arrives, late, in the first hour.
    late = readings([date(2026, 10, 26)], ["pump-1"])[:2]
    put_object(settings, tenant.telemetry_topic, FIRST, [*readings(DAYS)[:100], *late], 0)
    (load,) = load_silver(settings, tenant)
    assert load == HourLoad(FIRST, 1, 102, 102, 0, 204, 0, 0, (*DAYS[:5], date(2026, 10, 26)))
    telemetry = silver(settings, tenant, "telemetry")
    assert telemetry.num_rows == before + 4
    assert len(telemetry.group_by(["device_id", "ts", "metric"]).aggregate([])) == telemetry.num_rows
    assert silver(settings, tenant, "quarantine").num_rows == 0

    again = load_silver(settings, tenant, hours=[FIRST, SECOND])
    assert [each.readings for each in again] == [102, 44]
    assert silver(settings, tenant, "telemetry").num_rows == before + 4


def test_resent_in_a_later_hour_is_kept_once(settings: Settings, tenant: Tenant) -> None:
    load_silver(settings, tenant)
    third = SECOND + timedelta(hours=1)
    put_object(settings, tenant.telemetry_topic, third, readings(DAYS)[:10], 500)
    (load,) = load_silver(settings, tenant)
    assert load == HourLoad(third, 1, 10, 0, 0, 0, 0, 10)
    assert silver(settings, tenant, "telemetry").num_rows == 288


def test_of_damaged_objects_the_rest_is_quarantined_under_their_names(
    settings: Settings, tenant: Tenant
) -> None:
    folder = f"{tenant.id}/bronze/raw/{FIRST:%Y-%m-%d/%H}/{tenant.telemetry_topic}"
    sent = readings(DAYS, ["pump-7"])
    put_object(settings, tenant.telemetry_topic, FIRST, sent, 0, partition=1)
    cut = f"{folder}-1-{0:020d}.jsonl.gz"
    lake, parquet = lake_filesystem(settings.lake), io.BytesIO()
    pq.write_table(pa.table({"device_id": ["pump-8"]}), parquet)
    whole = get(lake, cut)
    bad = {
        cut: whole[: len(whole) * 2 // 3],
        f"{folder}-2-{0:020d}.jsonl.gz": b"",
        f"{folder}-3-{0:020d}.jsonl.gz": b"\x1f\x8b\x08 torn",
        f"{folder}-4-{0:020d}.jsonl.gz": parquet.getvalue(),
        f"{folder}-5-{0:020d}.jsonl.gz": gzip.compress(b'{"device": "pump-9", "celsius": 20}\n[1, 2]\n'),
    }
    for path, content in bad.items():
        put(lake, path, content)
    first, _ = load_silver(settings, tenant)
    kept = first.readings - 100
    assert 0 < kept < len(sent)
    telemetry = silver(settings, tenant, "telemetry").to_pylist()
    assert len([row for row in telemetry if row["device_id"] == "pump-7"]) == 2 * kept
    assert {row["kafka_offset"] for row in telemetry if row["kafka_partition"] == 1} == set(range(kept))
    found = silver(settings, tenant, "quarantine").to_pylist()
    rows = {path: [row["raw"] for row in found if row["object"] == path] for path in bad}
    assert [len(raw) for raw in rows.values()] == [1, 1, 1, 1, 2]
    beginnings = [raw[0].partition("unreadable object: ")[2][:12] for raw in list(rows.values())[:4]]
    assert beginnings == ["it is cut sh", "it is empty", "Error -3 whi", "Error -3 whi"]


def test_gold_is_the_same_twice(settings: Settings, tenant: Tenant) -> None:
    load_silver(settings, tenant)
    report = build_gold(settings, tenant, now=NOW)
    assert (list(report.days), report.scores, report.forecasts) == (DAYS, 36, 0)
    scores = "SELECT device_id, day, score, readings, errors FROM gold.device_health ORDER BY 2, 3, 1"
    parts = (
        "SELECT device_id, day, component, penalty, detail FROM gold.device_health_components "
        "ORDER BY 1, 2, 3"
    )
    summary = "SELECT day, devices, readings, errors, worst_devices FROM gold.customer_summary ORDER BY 1"
    before = [gold(settings, tenant, query) for query in (scores, parts, summary)]
    last = [row for row in before[0] if row[1] == DAYS[-1]]
    assert last[0][0] == "pump-0"
    assert last[0][2] < 50 < 75 < last[1][2]
    assert last[0][3:] == (4, 1)
    assert len(before[1]) == 36 * 10
    assert build_gold(settings, tenant, now=NOW).days == (), "nothing changed"
    writers = "SELECT DISTINCT xmin::text FROM gold.device_health_components"
    writer = gold(settings, tenant, writers)
    assert build_gold(settings, tenant, DAYS, now=NOW).scores == 36
    assert [gold(settings, tenant, query) for query in (scores, parts, summary)] == before
    assert gold(settings, tenant, writers) == writer, "what stays the same is not written again"


def test_a_large_fleet_is_scored_by_ray_as_a_small_one_is_here(settings: Settings, tenant: Tenant) -> None:
    load_silver(settings, tenant)
    tables = {
        "device_health": "device_id, day, model, score, readings, errors",
        "device_health_components": "device_id, day, component, round(value::numeric, 9), penalty, detail",
        "customer_summary": "day, devices, readings, errors, failures, worst_devices, top_error_codes",
    }
    queries = [f"SELECT {columns} FROM gold.{table} ORDER BY 1, 2, 3" for table, columns in tables.items()]
    build_gold(settings, tenant, now=NOW)
    here = [gold(settings, tenant, query) for query in queries]
    with tenant_transaction(engine(settings.database), tenant) as connection:
        for table in reversed(tables):
            connection.execute(text(f"DELETE FROM gold.{table}"))
    steps: list[str] = []
    by_ray = Sizes(here=0, group=50, part=50)
    assert build_gold(settings, tenant, DAYS, steps.append, now=NOW, sizes=by_ray).scores == 36
    assert len([step for step in steps if "scores of" in step]) > 1, "in parts"
    assert [gold(settings, tenant, query) for query in queries] == here


def test_a_history_of_failures_gives_risks(settings: Settings) -> None:
    """Before each of 18 failures the vibration rises for two days; on the last day it does for fan-0."""
    tenant = Tenant("lake_failures")
    create_tenant(settings, tenant)
    days = [date(2026, 9, 1) + timedelta(days=day) for day in range(40)]
    failing = {f"fan-{n}": [days[9 + n], days[20 + n * 7 % 11]] for n in range(9)} | {
        "fan-9": [],
        "fan-10": [],
    }
    sent, events = [], []
    for device, failed in failing.items():
        ill = {day - timedelta(days=ago) for day in failed for ago in (1, 2)} | (
            {days[-1], days[-2]} if device == "fan-0" else set()
        )
        for day in days:
            (reading,) = readings([day], [device])[-1:]
            sent.append(reading | {"metrics": {"vibration": (70 if day in ill else 40) + day.day % 3}})
        for day in failed:
            at = {"device_id": device, "ts": ms(datetime(day.year, day.month, day.day, 6, tzinfo=UTC))}
            events.append(at | {"type": "failure", "severity": "critical", "message": "bearing"})
            events.append(at | {"type": "maintenance", "severity": "info", "message": "bearing"})
    put_object(settings, tenant.telemetry_topic, FIRST, sent, 0)
    put_object(settings, tenant.events_topic, FIRST, events, 0)
    load_silver(settings, tenant)
    assert build_gold(settings, tenant, now=NOW).forecasts == 11 * 3
    query = (
        "SELECT device_id, horizon_hours, probability, model_version, day FROM gold.failure_risk "
        "ORDER BY horizon_hours, probability DESC, device_id"
    )
    risks = gold(settings, tenant, query)
    assert {row[1] for row in risks} == {24, 72, 168}
    assert {row[4] for row in risks} == {days[-1]}
    within_72h = [row for row in risks if row[1] == 72]
    assert within_72h[0][0] == "fan-0"
    assert within_72h[0][2] > 0.5 > within_72h[1][2]
    build_gold(settings, tenant, days[-1:], now=NOW)
    assert gold(settings, tenant, query) == risks
    mtbf = f"SELECT mtbf_hours FROM gold.customer_summary WHERE day = '{days[-1]}'"
    assert gold(settings, tenant, mtbf) == [(pytest.approx(28 * 11 * 24 / 15),)]
    insights = DeviceRecords(settings.database).insights(tenant, "fan-0")
    assert insights is not None
    assert [row["horizon_hours"] for row in insights["risk"]] == [24, 72, 168]


def test_gold_follows_what_a_load_changed(settings: Settings, tenant: Tenant) -> None:
    load_silver(settings, tenant)
    build_gold(settings, tenant, now=NOW)
    put_object(settings, tenant.telemetry_topic, SECOND, readings([DAYS[4]], ["pump-9"]), 900)
    load_silver(settings, tenant)
    assert build_gold(settings, tenant, DAYS[:1], now=NOW).scores == 6, (
        "a day by name leaves the others to do"
    )
    assert build_gold(settings, tenant, now=NOW).days == tuple(DAYS[4:])
    new = "SELECT day, readings FROM gold.device_health WHERE device_id = 'pump-9' ORDER BY day"
    assert gold(settings, tenant, new) == [(DAYS[4], 4), (DAYS[5], 0)]


def test_a_wrong_clock_brings_its_own_days_alone(settings: Settings, tenant: Tenant) -> None:
    load_silver(settings, tenant)
    build_gold(settings, tenant, now=NOW)
    wrong = [date(2000, 1, 1), date(2000, 1, 2)]
    put_object(settings, tenant.telemetry_topic, SECOND, readings([*wrong, DAYS[5]], ["pump-9"]), 900)
    load_silver(settings, tenant)
    steps: list[str] = []
    report = build_gold(settings, tenant, None, steps.append, now=NOW)
    then = [wrong[0] + timedelta(days=day) for day in range(30)]
    assert report.days == (*then, *DAYS[4:]), "SECOND had brought those of DAYS"
    read = [step for step in steps if step.startswith("reading")]
    assert read == [f"reading {days[0]} to {days[-1]} from silver" for days in (then, DAYS[4:])]
    scored = "SELECT count(*) FROM gold.device_health WHERE device_id = 'pump-9' AND day < '2001-01-01'"
    assert gold(settings, tenant, scored) == [(29,)], "from its last reading on for four weeks"


def test_a_running_day_is_scored_again_until_it_has_ended(settings: Settings, tenant: Tenant) -> None:
    today = datetime.now(UTC).date()
    midday = datetime(today.year, today.month, today.day, 12, 30, tzinfo=UTC)
    arrived = midday.replace(minute=0)
    put_object(settings, tenant.telemetry_topic, arrived, readings([today], ["pump-1"])[:1], 900)
    load_silver(settings, tenant)
    assert build_gold(settings, tenant, now=midday).days[-1] == today
    assert build_gold(settings, tenant, now=midday).days == (today,)
    silence = (
        "SELECT value FROM gold.device_health_components "
        "WHERE component = 'staleness' AND device_id = 'pump-1' "
        "AND day = (SELECT max(day) FROM gold.device_health)"
    )
    assert gold(settings, tenant, silence) == [(8.0,)]  # 05:00 to 13:00
    build_gold(settings, tenant, now=midday + timedelta(days=1))
    assert gold(settings, tenant, silence) == [(19.0,)]


def test_nothing_in_bronze_is_no_error(settings: Settings) -> None:
    empty = Tenant("lake_empty")
    create_tenant(settings, empty)
    assert load_silver(settings, empty) == []
    assert build_gold(settings, empty).days == ()
