"""The health score against values worked out by hand, without look-ahead, and on the demo fleet."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from pipelines.demo.fleet import generate
from pipelines.lake.daily import EVENT_COUNTS, STATS, UTC_US, count_events, merge, merge_events, summarise
from pipelines.lake.health import ALERTS, PENALTIES, SERVICES, Health, score, summary
from pipelines.lake.health_parts import score_here
from pipelines.lake.silver_to_gold import passes, stale_days

DAY = date(2026, 11, 10)
NO_EVENTS = EVENT_COUNTS.empty_table()


def stat(device: str, ago: int, mean: float, *, sd: float = 2.0, n: int = 24,
         model: str | None = "M", metric: str = "temp",
         last_hour: int = 23, late_mean: float | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """A device's day, `ago` days before DAY: one metric, and the device as a whole."""
    day = DAY - timedelta(days=ago)
    whole = {"device_id": device, "day": day, "metric": None, "model": model, "n": n, "mean": None,
             "m2": None,
             "late_n": None, "late_mean": None,
             "last_ts": datetime(day.year, day.month, day.day, last_hour, tzinfo=UTC)}  # fmt: skip
    late = {"late_n": n // 3, "late_mean": mean if late_mean is None else late_mean}
    return [whole | late | {"metric": metric, "mean": mean, "m2": sd**2 * (n - 1)}, whole]


def table(*days: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([row for day in days for row in day], schema=STATS)


def event(device: str, ago: int, n: int = 1, **changes: Any) -> dict[str, Any]:
    default = {"type": "error", "severity": "error", "label": "E421"}
    return {"device_id": device, "day": DAY - timedelta(days=ago), "n": n, **default, **changes}


def component(health: Health, name: str, device: str = "d") -> dict[str, Any]:
    (row,) = (
        row
        for row in health.device_health_components.to_pylist()
        if (row["component"], row["device_id"], row["day"]) == (name, device, DAY)
    )
    return row


def device(health: Health, name: str = "d") -> dict[str, Any]:
    (row,) = (
        row for row in health.device_health.to_pylist() if (row["device_id"], row["day"]) == (name, DAY)
    )
    return row


PAST = [stat("d", ago, mean) for ago, mean in ((1, 41.0), (2, 40.0), (3, 42.0), (4, 41.0))]


def test_anomaly_is_the_distance_from_the_own_past_in_its_own_spread() -> None:
    # centre 41, spread 2 (within days; 1.4826 x MAD 0.5 is less): z = (45 - 41) / 2 = 2.0
    # penalty 50 x (2.0 - 0.75) / (3 - 0.75) = 27.8
    found = component(score(table(*PAST, stat("d", 0, 45.0)), NO_EVENTS, [DAY]), "anomaly")
    assert found["value"] == pytest.approx(2.0)
    assert (found["penalty"], found["weight"]) == (27.8, 50)
    assert found["detail"] == (
        "temp averaged 45 over the last 24 h, 2.0 standard deviations above its own past (41)"
    )


def test_the_worst_metric_counts_on_either_side() -> None:
    other = [stat("d", ago, 100.0, metric="volt")[:1] for ago in range(1, 5)]
    stats = table(*PAST, *other, stat("d", 0, 41.5), stat("d", 0, 94.0, metric="volt")[:1])
    found = component(score(stats, NO_EVENTS, [DAY]), "anomaly")
    assert found["detail"].startswith("volt averaged 94 over the last 24 h, 3.0 standard deviations below")
    assert found["penalty"] == 50


def test_few_readings_have_to_deviate_more() -> None:
    # 4 readings: 3 / sqrt(4) = 1.5 are free, 0.75 more than otherwise: 50 x (2 - 1.5) / 2.25 = 11.1
    found = component(score(table(*PAST, stat("d", 0, 45.0, n=4)), NO_EVENTS, [DAY]), "anomaly")
    assert found["penalty"] == 11.1


def test_a_device_without_a_past_is_compared_with_its_models_fleet() -> None:
    others = [stat(f"p{i}", 0, mean) for i, mean in enumerate((40.0, 41.0, 42.0, 41.0, 41.0))]
    found = score(table(*others, stat("d", 0, 47.0)), NO_EVENTS, [DAY])
    anomaly = component(found, "anomaly")
    assert anomaly["value"] == pytest.approx(3.0)
    assert anomaly["detail"].endswith("above the M fleet, as it has no history of its own yet (41)")
    drift = component(found, "drift")
    assert drift["value"] == pytest.approx(3.0)
    assert drift["penalty"] == 6.7  # 10 x (3 - 1) / 3
    assert "the middle of the 6 devices of model M (41)" in drift["detail"]


@pytest.mark.parametrize("model", [None, "M"])
def test_nothing_to_compare_with_takes_nothing(model: str | None) -> None:
    found = score(table(stat("d", 0, 47.0, model=model)), NO_EVENTS, [DAY])
    assert device(found)["score"] == 100
    assert component(found, "anomaly")["detail"].startswith("too little past and too few devices")


def test_errors_weigh_by_severity_and_halve_each_day() -> None:
    # 3 x 1 + 1 x 2 today, 2 x 1 / 2 yesterday, 4 x 0.5 / 4 before: 6.5 points; 20 x 6.5 / 8 = 16.3 (16.25)
    events = [event("d", 0, 3), event("d", 0, 1, severity="critical", label="E425"), event("d", 1, 2),
              event("d", 2, 4, severity="warning"), event("d", 3, 50), event("other", 0, 50)]  # fmt: skip
    found = score(table(*PAST, stat("d", 0, 41.0)), pa.Table.from_pylist(events, schema=EVENT_COUNTS), [DAY])
    errors = component(found, "errors")
    assert errors["value"] == pytest.approx(6.5)
    assert errors["penalty"] == pytest.approx(16.25, abs=0.051)
    assert errors["detail"] == "4 error events in the last 24 h and 6 in the two days before (E421, E425)"
    assert device(found)["errors"] == 4


def test_a_failure_takes_its_whole_weight_for_a_day() -> None:
    failure = {"type": "failure", "severity": "critical", "label": "comp4"}
    stats = table(*PAST, stat("d", 0, 41.0))
    for ago, penalty in ((0, 20), (1, 0)):
        events = pa.Table.from_pylist([event("d", ago, **failure)], schema=EVENT_COUNTS)
        found = component(score(stats, events, [DAY]), "failures")
        assert found["penalty"] == penalty
        assert ("comp4" in found["detail"]) == (penalty > 0)


def test_a_surge_is_the_distance_of_the_last_eight_hours() -> None:
    # z = (47 - 41) / 2 = 3; 8 readings: 3 / sqrt(8) - 1 = 0.06 more are free: 10 x (3 - 1.06) / 2.5 = 7.8
    found = component(score(table(*PAST, stat("d", 0, 41.0, late_mean=47.0)), NO_EVENTS, [DAY]), "surge")
    assert (found["value"], found["penalty"]) == (pytest.approx(3.0), 7.8)
    assert found["detail"].startswith("temp averaged 47 over the last 8 h, 3.0 standard deviations above")


def test_slow_drift_is_the_last_week_against_the_weeks_before() -> None:
    # (43 - 41) / 2 = 1.0; 10 x (1.0 - 0.5) / 1.5 = 3.3
    days = [stat("d", ago, 43.0 if ago < 7 else 41.0) for ago in range(21)]
    found = component(score(table(*days), NO_EVENTS, [DAY]), "slow_drift")
    assert (found["value"], found["penalty"]) == (pytest.approx(1.0), 3.3)
    assert found["detail"].endswith("7 days, 1.0 standard deviations above the weeks before (41)")
    short = component(score(table(*days[:13]), NO_EVENTS, [DAY]), "slow_drift")
    assert (short["value"], short["penalty"]) == (None, 0), "six days before the week are too few"


def test_open_alerts_count_in_full_and_resolved_ones_by_half() -> None:
    # critical and open 2, error resolved on the day 1 / 2: 2.5 points; 10 x 2.5 / 4 = 6.25
    def alert(severity: str, opened: int, resolved: int | None, device: str = "d") -> dict[str, Any]:
        end = datetime(2026, 11, 11, tzinfo=UTC)
        at = end + timedelta(hours=opened)
        until = None if resolved is None else end + timedelta(hours=resolved)
        return {"device_id": device, "rule": f"{severity}-rule", "severity": severity, "opened_at": at,
                "resolved_at": until}  # fmt: skip

    alerts = [alert("critical", -30, None), alert("error", -90, -23), alert("critical", -90, -25),
              alert("critical", 1, None), alert("critical", -5, None, "other")]  # fmt: skip
    stats = table(*PAST, stat("d", 0, 41.0))
    found = component(
        score(stats, NO_EVENTS, [DAY], alerts=pa.Table.from_pylist(alerts, schema=ALERTS)), "alerts"
    )
    assert (found["value"], found["penalty"]) == (2.5, pytest.approx(6.25, abs=0.051))
    assert found["detail"] == ("1 open and 1 resolved alerts in the last 24 h (critical-rule, error-rule)")
    # Resolved after the day, it was open then: what came later does not change the day.
    later = pa.Table.from_pylist([alert("critical", -30, 3)], schema=ALERTS)
    assert component(score(stats, NO_EVENTS, [DAY], alerts=later), "alerts")["value"] == 2


def test_maintenance_and_wear_are_the_ages_of_services() -> None:
    # comp1 15 days before the day's end, comp2 105: 10 x 15 / 30 = 5.0, and 10 x 60 / 240 = 2.5
    def service(part: str, ago: float) -> dict[str, Any]:
        at = datetime(2026, 11, 11, tzinfo=UTC) - timedelta(days=ago)
        day = (at.date() - DAY).days
        return event("d", -day, type="maintenance", severity="info", label=part, occurred_at=at)

    services = [service("comp1", 15), service("comp1", 40), service("comp2", 105), service("comp2", -1)]
    stats = table(*PAST, stat("d", 0, 41.0))
    found = score(stats, pa.Table.from_pylist(services, schema=EVENT_COUNTS), [DAY])
    since, wear = component(found, "maintenance"), component(found, "wear")
    assert (since["value"], since["penalty"]) == (pytest.approx(15), 5.0)
    assert since["detail"] == "last serviced 15.0 days ago (comp1)"
    assert (wear["value"], wear["penalty"]) == (pytest.approx(60), 2.5)
    assert wear["detail"].endswith("60 days old on average, comp2 the oldest with 105")
    never = component(score(stats, NO_EVENTS, [DAY]), "maintenance")
    assert (never["value"], never["penalty"]) == (None, 0)


def test_mean_time_between_failures_is_operating_hours_over_failures() -> None:
    # d reported on 5 days, p on 1: 144 h; 2 failures in the window
    events = [event("d", 0, type="failure", label="comp1"), event("d", 3, type="failure", label="comp2"),
              event("d", 30, type="failure", label="comp1")]  # fmt: skip
    stats = table(*PAST, stat("d", 0, 41.0), stat("p", 0, 41.0))
    found = score(stats, pa.Table.from_pylist(events, schema=EVENT_COUNTS), [DAY])
    assert found.customer_summary["mtbf_hours"].to_pylist() == [72.0]
    assert score(stats, NO_EVENTS, [DAY]).customer_summary["mtbf_hours"].to_pylist() == [None]


def test_parts_of_a_fleet_add_up_to_the_whole() -> None:
    devices = [f"p{number}" for number in range(12)]
    stats = table(*[stat(name, ago, 40.0 + n * (ago == 0)) for n, name in enumerate(devices)
                    for ago in range(5)])  # fmt: skip
    events = pa.Table.from_pylist(
        [event("p3", 0, 2), event("p7", 0, type="failure", label="comp1"), event("p8", 0, 5, label="E1")],
        schema=EVENT_COUNTS,
    )
    whole = score(stats, events, [DAY])
    empty = (SERVICES.empty_table(), ALERTS.empty_table())
    scored = list(score_here(stats, events, *empty, [DAY], timedelta(0), parts=3))
    assert len(scored) == 3
    assert min(part.device_health.num_rows for part in scored) > 0
    for name in ("device_health", "device_health_components"):
        found = pa.concat_tables([getattr(each, name) for each in scored]).to_pylist()
        assert sorted(map(repr, found)) == sorted(map(repr, getattr(whole, name).to_pylist()))
    assert summary([each.share for each in scored]).to_pylist() == whole.customer_summary.to_pylist()


def test_a_silent_device_stays_in_the_fleet_and_loses_points() -> None:
    # last reading at 13:00: 11 h before the day's end; 30 x (11 - 2) / 22 = 12.3
    found = score(table(*PAST, stat("d", 0, 41.0, last_hour=13)), NO_EVENTS, [DAY])
    assert (component(found, "staleness")["value"], component(found, "staleness")["penalty"]) == (11, 12.3)
    gone = score(table(*PAST), NO_EVENTS, [DAY])
    assert (device(gone)["readings"], device(gone)["score"]) == (0, 70)
    assert component(gone, "staleness")["detail"] == "the last reading is 25.0 h old"
    assert component(gone, "anomaly")["detail"] == "no readings in the last 24 h"


def test_scores_and_penalties_add_up_and_stay_between_0_and_100() -> None:
    events = [event("d", 0, 500), event("d", 0, type="failure", label="comp1")]
    others = [stat(f"p{i}", 0, 41.0) for i in range(5)]
    stats = table(*PAST, stat("d", 0, 400.0, last_hour=0), *others)
    found = score(stats, pa.Table.from_pylist(events, schema=EVENT_COUNTS), [DAY])
    assert device(found)["score"] == 0
    rows = found.device_health_components.to_pylist()
    assert {row["component"] for row in rows} == set(PENALTIES)
    for name in ("p0", "p4"):
        taken = sum(row["penalty"] for row in rows if row["device_id"] == name)
        assert device(found, name)["score"] == pytest.approx(100 - taken)


def test_a_day_knows_nothing_of_the_days_after_it() -> None:
    until = table(*PAST, stat("d", 0, 45.0))
    later = table(*PAST, stat("d", 0, 45.0), stat("d", -1, 400.0), stat("d", -2, 0.0))
    events = pa.Table.from_pylist([event("d", -1, 9)], schema=EVENT_COUNTS)
    after = score(later, events, [DAY, DAY + timedelta(days=1)])
    assert device(after) == device(score(until, NO_EVENTS, [DAY]))
    assert component(after, "anomaly") == component(score(until, NO_EVENTS, [DAY]), "anomaly")


def test_the_summary_counts_the_fleet_and_names_its_worst() -> None:
    events = [event("d", 0, 3), event("p1", 0, 1, label="E1"), event("d", 0, type="failure", label="comp1")]
    stats = table(*PAST, stat("d", 0, 47.0), stat("p1", 0, 41.0))
    (row,) = score(
        stats, pa.Table.from_pylist(events, schema=EVENT_COUNTS), [DAY]
    ).customer_summary.to_pylist()
    assert (row["devices"], row["readings"], row["errors"], row["failures"]) == (2, 48, 4, 1)
    assert row["unhealthy_devices"] == 1
    assert [each["device_id"] for each in json.loads(row["worst_devices"])] == ["d", "p1"]
    assert json.loads(row["top_error_codes"])[0] == {"error_code": "E421", "events": 3}


def silver(values: Iterable[tuple[datetime, float]], metric: str = "temp") -> pa.Table:
    times, readings = zip(*values, strict=True)
    count = len(times)
    return pa.table(
        {"device_id": ["d"] * count, "ts": pa.array(times, UTC_US), "metric": [metric] * count,
         "value": pa.array(readings), "model": ["M"] * count,
         "kafka_partition": pa.array([0] * count, pa.int32()),
         "kafka_offset": pa.array(range(count))}
    )  # fmt: skip


def test_batches_merge_to_the_statistics_of_the_whole() -> None:
    start = datetime(2026, 11, 10, tzinfo=UTC)
    values = [(start + timedelta(hours=hour), float(value)) for hour, value in enumerate((1, 5, 9, 2, 1e6))]
    parts = pa.concat_tables([summarise(silver(values[:2])), summarise(silver(values[2:]))])
    merged = {row["metric"]: row for row in merge(parts).to_pylist()}
    whole = {row["metric"]: row for row in summarise(silver(values)).to_pylist()}
    assert merged["temp"]["mean"] == pytest.approx(whole["temp"]["mean"])
    assert merged["temp"]["m2"] == pytest.approx(whole["temp"]["m2"])
    assert merged[None]["n"] == whole[None]["n"] == 5
    assert merged[None]["last_ts"] == values[-1][0]


def test_a_reading_of_several_metrics_counts_once() -> None:
    values = [(datetime(2026, 11, 10, 5, tzinfo=UTC), 1.0)]
    rows = pa.concat_tables([silver(values), silver(values, "volt")])
    assert [row["n"] for row in summarise(rows).to_pylist() if row["metric"] is None] == [1]


def test_a_shifted_day_is_the_24_hours_up_to_then() -> None:
    at = datetime(2026, 11, 10, 15, tzinfo=UTC)
    values = [
        (at - timedelta(hours=25), 1.0),
        (at - timedelta(hours=23), 2.0),
        (at - timedelta(hours=1), 4.0),
    ]
    (part, shift) = passes([DAY], at - timedelta(minutes=20))[0]
    days = {row["day"]: row["mean"] for row in summarise(silver(values), shift).to_pylist() if row["metric"]}
    assert (part, shift) == ([DAY], timedelta(hours=9))
    assert days == {DAY: 3.0, DAY - timedelta(days=1): 1.0}


def test_days_years_apart_are_scored_without_those_between() -> None:
    wrong, today = date(2000, 1, 1), DAY + timedelta(days=1)
    stale = stale_days([wrong, DAY], today)
    then = [wrong + timedelta(days=ahead) for ahead in range(29)]
    assert stale == [*then, DAY, today]
    now = datetime(today.year, today.month, today.day, 15, 20, tzinfo=UTC)
    still = timedelta(0)
    assert passes(stale, now) == [(then, still), ([DAY], still), ([today], timedelta(hours=8))]
    assert passes([DAY - timedelta(days=20), DAY], now)[0][0] == [DAY - timedelta(days=20), DAY]


@pytest.mark.parametrize(("seed", "hour"), [(7, 23), (1, 9), (2, 0)])
def test_the_machines_in_mid_fault_are_the_worst_of_the_demo_fleet(
    seed: int, hour: int, tmp_path: Path
) -> None:
    end = datetime(2026, 11, 22, hour, tzinfo=UTC)
    made = generate(tmp_path, seed=seed, end=end)
    models = {
        row["machineID"]: row["model"] for row in pa_csv.read_csv(tmp_path / "PdM_machines.csv").to_pylist()
    }
    readings = pa_csv.read_csv(tmp_path / "PdM_telemetry.csv")
    common = {
        "device_id": readings["machineID"].cast(pa.string()),
        "ts": readings["datetime"].cast(UTC_US),
        "model": [models[machine] for machine in readings["machineID"].to_pylist()],
        "kafka_partition": pa.array([0] * len(readings), pa.int32()),
        "kafka_offset": pa.array(range(len(readings))),
    }
    rows = pa.concat_tables(
        pa.table(common | {"metric": [metric] * len(readings), "value": readings[metric]})
        for metric in ("volt", "rotate", "pressure", "vibration")
    )
    errors = pa_csv.read_csv(tmp_path / "PdM_errors.csv")
    services = pa_csv.read_csv(tmp_path / "PdM_maint.csv")
    events = pa.concat_tables(
        pa.table(
            {"device_id": rows["machineID"].cast(pa.string()), "ts": rows["datetime"].cast(UTC_US),
             "type": [kind] * len(rows), "severity": [severity] * len(rows),
             "error_code": codes, "message": messages}
        )
        for rows, kind, severity, codes, messages in (
            (errors, "error", "error", errors["errorID"], pa.nulls(len(errors), pa.string())),
            (services, "maintenance", "info", pa.nulls(len(services), pa.string()), services["comp"]),
        )
    )  # fmt: skip
    ((days, shift),) = passes([end.date()], end + timedelta(minutes=5))
    found = score(merge(summarise(rows, shift)), merge_events(count_events(events, shift)), days, shift)
    ranked = sorted(found.device_health.to_pylist(), key=lambda row: row["score"])
    ill = {str(machine) for machine in made.degrading}
    assert {row["device_id"] for row in ranked[: len(ill)]} == ill
    assert ranked[len(ill)]["score"] - ranked[len(ill) - 1]["score"] > 5
