"""What the database tells of a device, of a time that a question names."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import TextClause, text

from iotops.database import engine, tenant_transaction
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from ray_apps.copilot.evidence import devices_sql
from ray_apps.copilot.evidence.devices import DeviceRecords, Scope
from ray_apps.copilot.evidence.sentences import incidents
from ray_apps.copilot.question.conditions import Condition
from ray_apps.copilot.question.leaving_out import LeftOut
from ray_apps.copilot.question.period import EVER, Period

INSERT = text("""
    INSERT INTO silver.events (tenant_id, device_id, ts, type, severity, error_code, kafka_partition,
        kafka_offset, arrival_day)
    VALUES (:tenant, :device, :ts, :type, 'info', :code, 0, :offset, current_date)""")

SCORED = text("""
    INSERT INTO gold.device_health (tenant_id, device_id, day, model, score, readings, errors)
    VALUES (:tenant, :device, :day, :model, 90, 24, 0)""")

FLEET = [
    text(statement)
    for statement in (
        """INSERT INTO gold.device_health (tenant_id, device_id, day, model, score, readings, errors)
           SELECT :tenant, 'pump-' || device, current_date - day,
               CASE WHEN device % 100 = 0 THEN 'HX-200' ELSE 'CR-110' END, device % 101, 24, 0
           FROM generate_series(1, 2000) device, generate_series(0, 49) day""",
        """INSERT INTO gold.device_health_components (tenant_id, device_id, day, component, penalty, weight,
               detail)
           SELECT tenant_id, device_id, day, 'wear', 1, 1, 'worn' FROM gold.device_health
           WHERE day > current_date - 5""",
        """INSERT INTO silver.events (tenant_id, device_id, ts, type, severity, error_code, kafka_partition,
               kafka_offset, arrival_day)
           SELECT :tenant, 'pump-' || n % 2000, now() - n * interval '1 minute', 'error', 'info',
               CASE WHEN n % 20 = 0 THEN 'E421' END, 1, n, current_date FROM generate_series(1, 50000) n""",
        """INSERT INTO silver.telemetry (tenant_id, device_id, ts, metrics, kafka_partition, kafka_offset,
               arrival_day)
           SELECT :tenant, 'pump-' || n % 2000, now() - n * interval '1 second', '{}', 0, n, current_date
           FROM generate_series(1, 20000) n""",
        """INSERT INTO silver.alerts (tenant_id, alert_id, device_id, rule, kind, severity, opened_at,
               resolved_at, evidence, topic, kafka_partition, kafka_offset)
           SELECT :tenant, gen_random_uuid(), 'pump-' || n % 2000, 'hot', 'rule', 'warning',
               now() - n * interval '1 hour', CASE WHEN n > 100 THEN now() END, '{}', 't', 0, n
           FROM generate_series(1, 20000) n""",
        """INSERT INTO ingest.alert_messages (tenant_id, alert_id, status, published_at)
           SELECT tenant_id, alert_id, 'open', now() FROM silver.alerts""",
    )
]
TABLES = """gold.device_health, gold.device_health_components, silver.events, silver.telemetry, silver.alerts,
    ingest.alert_messages"""


@pytest.fixture(scope="module")
def fleet(settings: Settings) -> Tenant:
    """Two thousand devices with fifty days of scores, readings, events and alerts."""
    tenant = Tenant("large_fleet")
    create_tenant(settings, tenant)
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(text("SELECT silver.add_day(current_date)"))
        for statement in FLEET:
            connection.execute(statement, {"tenant": tenant.id})
    with engine(settings.database, as_owner=True).begin() as connection:
        connection.execute(text(f"ANALYZE {TABLES}"))
    return tenant


@pytest.mark.parametrize(
    "name",
    [
        "HEALTH",
        "DAY",
        "NEWEST",
        "EVENTS",
        "ALERTS",
        "TREND",
        "KNOWN",
        "REPORTED",
        "DEVICE_OPEN_ALERTS",
        "DEVICE_ALERTS_WITHIN",
        "CODES",
        "FLEET_EVENTS",
        "FLEET_CODES",
        "FLEET_ALERTS",
        "OPEN_ALERTS",
        "VERSION",
        "FLEET",
        "HEALTHIEST",
        "MODELS",
        "SCORES",
        "WITHOUT_ERRORS",
        "WITHOUT_OPEN_ALERTS",
        "WITHOUT_READINGS",
        "ASKED_CODES",
    ],
)
def test_no_question_reads_a_table_from_end_to_end(settings: Settings, fleet: Tenant, name: str):
    statement = getattr(devices_sql, name)
    assert isinstance(statement, TextClause)
    assert "Seq Scan" not in planned(settings, fleet, statement, {})


@pytest.mark.parametrize(
    "condition",
    [
        Condition("errors", True),
        Condition("errors", False, None, ("E421", "E7")),
        Condition("alerts", True),
        Condition("readings", False),
    ],
    ids=str,
)
def test_nor_does_one_for_those_who_meet_conditions(settings: Settings, fleet: Tenant, condition: Condition):
    both = (condition, Condition("score", True, bound="at least", number=50))
    assert "Seq Scan" not in planned(settings, fleet, devices_sql.meeting(both), devices_sql.values(both))


def planned(settings: Settings, tenant: Tenant, statement: TextClause, more: dict[str, Any]) -> str:
    """How the database would run a statement, but for what it reads of the small `offsets`."""
    values = {
        "device": "pump-7",
        "names": ["pump-7", "E421"],
        "limit": 5,
        "bands": 10,
        **Scope(["P-1"], ["P-2"], ["pump-8"], ["E7"], ["E9"]).values,
        "keys": ["e421"],
        "day": datetime.now(UTC).date(),
        **asdict(EVER),
        **more,
    }
    asked = {key: value for key, value in values.items() if key in statement.compile().params}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        plan = "\n".join(connection.execute(text(f"EXPLAIN {statement.text}"), asked).scalars())
    return plan.replace("Seq Scan on offsets", "")


def test_an_error_is_told_however_much_else_happened_since(settings: Settings):
    tenant, now = Tenant("eventful"), datetime.now(UTC)
    create_tenant(settings, tenant)
    mine = {"tenant": tenant.id, "device": "pump-1"}
    rows = [mine | {"ts": now - timedelta(hours=1), "type": "error", "code": "E421", "offset": 0}]
    rows += [
        mine | {"ts": now - timedelta(minutes=n), "type": "note", "code": None, "offset": n}
        for n in range(1, 41)
    ]
    rows.append(mine | {"device": "CNC-07", "ts": now, "type": "note", "code": None, "offset": 41})
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(INSERT, rows)
    records, period = DeviceRecords(settings.database), Period(now - timedelta(hours=2), now)
    assert records.known(tenant, ["cnc-07", "Pump-1", "CNC-7"]) == ["CNC-07", "pump-1"]
    within = records.insights(tenant, "pump-1", period)
    assert within
    assert "E421 (1 time" in incidents(within["codes"], "pump-1", period)[0]
    times = [event["ts"] for event in within["events"]]
    assert times == sorted(times, reverse=True)
    assert [(row["error_code"], row["times"]) for row in within["recent_codes"]] == [("E421", 1)]
    ever = records.insights(tenant, "pump-1")
    assert ever
    assert {event["error_code"] for event in ever["events"]} == {None}, "the latest, whatever they are"


def test_every_error_of_a_period_is_counted_with_those_who_reported_it_most(settings: Settings):
    tenant, now = Tenant("counting"), datetime.now(UTC)
    create_tenant(settings, tenant)
    reported = [
        ("pump-1", "E421", 70),
        ("pump-2", "E421", 3),
        ("pump-3", "E421", 2),
        ("pump-4", "E421", 1),
        ("pump-2", "E7", 1),
    ]
    rows = [
        {
            "tenant": tenant.id,
            "device": device,
            "ts": now - timedelta(seconds=n, minutes=10 * (code == "E7")),  # behind all the others
            "code": code,
        }
        for device, code, times in reported
        for n in range(1, times + 1)
    ]
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(INSERT, [row | {"type": "error", "offset": n} for n, row in enumerate(rows)])
    records, period = DeviceRecords(settings.database), Period(now - timedelta(hours=2), now)
    fleet, device = records.incidents(tenant, period), records.insights(tenant, "pump-1", period)
    assert [(row["error_code"], row["times"], row["devices"], row["named"]) for row in fleet["codes"]] == [
        ("E421", 76, 4, ["pump-1", "pump-2", "pump-3"]),
        ("E7", 1, 1, ["pump-2"]),
    ]
    assert device
    assert [(row["error_code"], row["times"], row["latest"]) for row in device["codes"]] == [
        ("E421", 70, now - timedelta(seconds=1))
    ]
    assert sum(row["times"] for row in records.incidents(tenant)["codes"]) == 50, "of all time, of late"
    day = {"tenant": tenant.id, "day": now.date()}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        for number in range(1, 7):
            connection.execute(SCORED, day | {"device": f"pump-{number}", "model": f"P-{number % 2}"})
    spared = records.lacking(tenant, "errors", period)
    assert (spared["devices"], spared["spared"], spared["named"]) == (6, 2, ["pump-5", "pump-6"])
    assert records.lacking(tenant, "errors", period, ["e-7"], {"p0"})["named"] == ["pump-4", "pump-6"]
    assert records.lacking(tenant, "errors", Period(now - timedelta(days=9), period.since))["spared"] == 6
    assert records.lacking(tenant, "alerts", None)["spared"] == 6
    assert records.lacking(tenant, "readings", period)["spared"] == 6
    counted = records.insights(tenant, "pump-2", period, ["e-7", "E99", "V2", "P-500", "pump-99"])
    assert counted
    times = [(row["error_code"], row["times"]) for row in counted["asked_codes"]]
    assert times == [("e-7", 1), ("E99", 0)], "nothing is said of the name of a part, a model or a device"
    assert records.reported(tenant, ["E-421", "e7", "E99"]) == {"e421", "e7"}
    asked = records.incidents(tenant, codes=["e-7"])
    assert [(row["error_code"], row["times"]) for row in asked["codes"]] == [("E7", 1)]
    assert [event["error_code"] for event in asked["events"]] == ["E7"]
    but_one = records.incidents(tenant, codes=["e-421"], left_out=LeftOut(("pump-1", "P-0"), ("e-7", "E99")))
    assert [but_one[name] for name in ("other_models", "other_devices", "without_codes")] == [
        ["P-0"],
        ["pump-1"],
        ["e-7", "E99"],
    ]
    assert [row["named"] for row in but_one["codes"]] == [["pump-3"]]
    others = records.incidents(tenant, period, left_out=LeftOut(("e-421", "pump-1", "pump-01")))
    assert [row["error_code"] for row in others["codes"]] == ["E7"]
    assert others["other_codes"] == ["e-421"], "of a device no other spelling is a code"
    worst = records.fleet(tenant, left_out=LeftOut((), ("P-0", "pump-3")))["worst"]
    assert [row["device_id"] for row in worst] == ["pump-1", "pump-5"]
    best = records.fleet(tenant, {"p1"}, best=True)["best"]
    assert [row["device_id"] for row in best] == ["pump-5", "pump-3", "pump-1"], "of equal scores the last"
    spared = records.lacking(tenant, "errors", period, left_out=LeftOut(("e-421", "pump-6")))
    assert spared["named"] == ["pump-1", "pump-3", "pump-4", "pump-5"], "reported nothing but E421"

    def meet(*conditions: Condition, left_out: LeftOut = LeftOut()) -> list[str] | None:
        found = records.meeting(tenant, conditions, period, {"p0"} if left_out else (), left_out)
        assert found["met"] == len(found["named"] or ())
        return found["named"]

    errors, e421, e7 = (Condition("errors", True, period, codes) for codes in ((), ("e-421",), ("E7",)))
    assert meet(e421, e7) == ["pump-2"]
    assert meet(replace(e421, codes=("E421", "E7")), Condition("alerts", False)) == [
        "pump-1",
        "pump-2",
        "pump-3",
        "pump-4",
    ]
    assert meet(replace(errors, has=False), Condition("readings", False, period)) == ["pump-5", "pump-6"]
    assert meet(e421, replace(e7, has=False), left_out=LeftOut(("pump-6",))) == ["pump-4"], "of the P-0"
    assert meet(replace(e421, bound="at least", number=3)) == ["pump-1", "pump-2"]
    assert meet(replace(errors, bound="below", number=2)) == ["pump-4", "pump-5", "pump-6"]
    assert meet(Condition("alerts", True, bound="above", number=0)) is None
    assert meet(errors, left_out=LeftOut(("e-421",))) == ["pump-2"], "reported another than E421"
    assert meet(e7, left_out=LeftOut((), ("e-421",))) is None
    assert meet(e7, replace(e421, period=Period(period.since, now - timedelta(hours=1)))) is None


def test_what_went_wrong_can_be_asked_of_the_devices_of_a_model(settings: Settings, fleet: Tenant):
    records = DeviceRecords(settings.database)
    whole, of_model = records.incidents(fleet), records.incidents(fleet, about={"hx200", "e421"})
    assert (whole["models"], of_model["models"]) == ([], ["HX-200"])
    for kind in ("events", "alerts"):
        names = {row["device_id"] for row in of_model[kind]}
        assert names
        assert names <= {f"pump-{number}" for number in range(100, 2000, 100)}
    assert 0 < of_model["open_alerts"] < whole["open_alerts"]
    assert records.incidents(fleet, about={"cr999"})["models"] == [], "no such model: of all"


def test_alerts_of_a_time_are_counted_though_they_are_over(settings: Settings, fleet: Tenant):
    records, now, hour = DeviceRecords(settings.database), datetime.now(UTC), timedelta(hours=1)
    assert records.incidents(fleet)["open_alerts"] == 100
    of_device = [records.insights(fleet, "pump-7", each) for each in (EVER, Period(now - 9000 * hour, now))]
    assert [found["open_alerts"] for found in of_device if found] == [1, 10]
    assert records.lacking(fleet, "alerts", None)["spared"] == 2000 - 100
    assert records.lacking(fleet, "alerts", Period(now - 1000 * hour, now))["named"] == ["pump-2000"]
    assert records.lacking(fleet, "readings", Period(now - hour, now))["named"] == ["pump-2000"]
    still_open, poor = Condition("alerts", True), Condition("score", True, bound="below", number=3)
    found = records.meeting(fleet, (still_open, poor))
    assert (found["devices"], found["met"], found["named"], found["scores"]) == (
        2000,
        2,
        ["pump-1", "pump-2"],
        [1.0, 2.0],
    )
    silent = Condition("readings", False, Period(now - hour, now))
    neither = (silent, Condition("alerts", False, Period(now - 1000 * hour, now)))
    assert records.meeting(fleet, neither)["named"] == ["pump-2000"]
    days_ago = Period(now - 9 * 24 * hour, now - 8 * 24 * hour)
    at_least = records.meeting(fleet, (Condition("score", True, days_ago, bound="at least", number=100),))
    assert (at_least["day"], at_least["met"]) == ((now - 8 * 24 * hour).date(), 19)
    past = records.incidents(fleet, Period(now - 1000 * hour, now - 999.5 * hour))
    assert past["open_alerts"] == 20_000 - 999, "those that were opened before are over since now"
    over = records.incidents(fleet, Period(now - hour, now + hour), resolved=True)
    assert (over["resolved_alerts"], len(over["alerts"])) == (19_900, 50)
    assert all(each["resolved_at"] for each in over["alerts"])
    assert records.incidents(fleet, Period(now - 2 * hour, now - hour), resolved=True)["alerts"] == []
    earlier = records.fleet(fleet, period=Period(now - 9 * 24 * hour, now - 8 * 24 * hour))
    assert earlier["day"] == (now - 8 * 24 * hour).date()
