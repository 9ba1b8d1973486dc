"""Which alerts records yield, however they come in batches and wherever the state is kept and restored."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import orjson
import pytest

from iotops.kafka import Batch, Partition
from pipelines.ingest.alerting.episodes import Change, Opened, Resolved
from pipelines.ingest.alerting.evaluate import PartitionAlerts, State, alerts_of
from pipelines.ingest.alerting.limits import LIMITS, Limits
from pipelines.ingest.alerting.rules import RuleSet
from pipelines.ingest.silver_rows import EVENTS as EVENT_ROWS
from pipelines.ingest.silver_rows import TELEMETRY as READING_ROWS
from pipelines.ingest.silver_rows import staged

TELEMETRY, EVENTS = Partition("telemetry_acme", 3), Partition("events_acme", 1)
START = 1_700_000_000_000
MINUTE = 60_000
DAY = 1440 * MINUTE
HOT = {"name": "hot", "kind": "threshold", "metric": "temp", "above": 80, "severity": "error"}
SILENT = {"name": "silent", "kind": "silence", "after": "10m", "severity": "warning"}
BURST = {
    "name": "burst",
    "kind": "burst",
    "types": ["error"],
    "count": 3,
    "within": "10m",
    "severity": "error",
}
ANOMALY = {"name": "odd", "kind": "anomaly", "clear_after": "10m", "severity": "warning"}


def alerts(
    *rules: dict[str, Any], partition: Partition = TELEMETRY, limits: Limits = LIMITS
) -> PartitionAlerts:
    return alerts_of(partition, RuleSet.model_validate({"rules": rules}), limits)


def batch(records: list[dict[str, Any]], partition: Partition = TELEMETRY, first: int = 0) -> Batch:
    """Records that arrive at their own time."""
    return Batch(
        partition,
        list(range(first, first + len(records))),
        [record.get("arrived", record["ts"]) for record in records],
        [record["device_id"].encode() for record in records],
        [orjson.dumps(record) for record in records],
    )


def readings(
    values: list[float], device: str = "pump-1", step: int = MINUTE, **more: Any
) -> list[dict[str, Any]]:
    return [
        {"device_id": device, "ts": START + step * i, "seq": i, "metrics": {"temp": value}, **more}
        for i, value in enumerate(values)
    ]


def errors(minutes: list[float], device: str = "pump-1") -> list[dict[str, Any]]:
    times = [START + int(at * MINUTE) for at in minutes]
    return [{"device_id": device, "ts": at, "type": "error", "error_code": "E421"} for at in times]


def told(changes: list[Change]) -> list[str]:
    return [f"open {change.key.rule}" if isinstance(change, Opened) else "resolved" for change in changes]


def test_a_value_beyond_its_threshold_is_one_alert_until_it_clears() -> None:
    found = alerts(HOT).take(batch(readings([70, 85, 90, 88, 79, 85])))
    assert told(found) == ["open hot", "resolved", "open hot"]
    assert isinstance(found[0], Opened)
    assert found[0].evidence == {
        "above": 80,
        "window": {"from": START + MINUTE, "to": START + MINUTE, "readings": 1},
        "values": {"last": 85, "worst": 85},
    }


def test_a_value_on_the_edge_does_not_flap() -> None:
    assert told(alerts({**HOT, "clear": 75}).take(batch(readings([85, 79, 81, 76, 82, 75])))) == [
        "open hot",
        "resolved",
    ]


def test_a_breach_must_last_as_long_as_the_rule_says() -> None:
    rule = {**HOT, "for": "3m"}
    assert told(alerts(rule).take(batch(readings([85, 85, 85, 70, 85, 85, 85])))) == []
    [opened] = alerts(rule).take(batch(readings([85, 86, 99, 85])))
    assert isinstance(opened, Opened)
    assert (opened.opened_at, opened.offset) == (START + 3 * MINUTE, 3)
    assert opened.evidence["values"] == {"last": 85, "worst": 99}


def test_below_works_as_above() -> None:
    rule = {**HOT, "above": None, "below": 10, "clear": 12}
    rule = {key: value for key, value in rule.items() if value is not None}
    assert told(alerts(rule).take(batch(readings([11, 9, 11, 12])))) == ["open hot", "resolved"]


def test_a_rule_for_a_model_leaves_the_others_alone_and_the_model_is_remembered() -> None:
    rule = {**HOT, "models": ["HX-200"]}
    records = readings([70], model="HX-200") + readings([85, 85], "pump-2", model="CR-310")
    records.append({"device_id": "pump-1", "ts": START + MINUTE, "seq": 1, "metrics": {"temp": 85}})
    [opened] = alerts(rule).take(batch(records))
    assert isinstance(opened, Opened)
    assert opened.key.device_id == "pump-1"


@pytest.mark.parametrize("bad", [b"{broken", b'{"device_id": "\xff"}', b'{"x": %s}' % (b"[" * 5000)])
@pytest.mark.parametrize("partition", [TELEMETRY, EVENTS])
def test_a_record_that_nobody_can_read_stops_no_other(bad: bytes, partition: Partition) -> None:
    records = batch(readings([85]) if partition == TELEMETRY else errors([0, 1, 2]), partition)
    unreadable = Batch(partition, [99], [START], [b"pump-1"], [bad])
    found = alerts(HOT, BURST, partition=partition)
    assert told(found.take(unreadable)) == []
    assert len(told(found.take(records))) == 1
    table = READING_ROWS if partition == TELEMETRY else EVENT_ROWS
    stored = [staged(table, each, START).num_rows for each in (unreadable, records)]
    assert stored == [0, len(records.values)]


def test_what_comes_late_or_twice_changes_nothing() -> None:
    on_time = readings([70, 71, 72])
    late = [{**on_time[0], "ts": START - MINUTE, "metrics": {"temp": 99}}, {**on_time[2]}]
    assert alerts(HOT).take(batch(on_time + late)) == []


def test_a_silent_device_is_found_by_the_clock_and_by_its_next_reading_alike() -> None:
    before, after = readings([1, 1]), [{**readings([1])[0], "ts": START + 30 * MINUTE, "seq": 9}]
    watched, unwatched = alerts(SILENT), alerts(SILENT)
    watched.take(batch(before))
    assert told(watched.at(START + 10 * MINUTE)) == []
    [by_clock] = watched.at(START + 12 * MINUTE)
    assert watched.at(START + 13 * MINUTE) == []
    unwatched.take(batch(before))
    by_reading, ended = unwatched.take(batch(after, first=2))
    assert by_reading == by_clock
    assert watched.take(batch(after, first=2)) == [ended]
    assert isinstance(ended, Resolved)
    assert ended.because == "it sent again after 1740 s"


def test_errors_in_quick_succession_are_a_burst_until_they_stop() -> None:
    found = alerts(BURST, partition=EVENTS)
    assert told(found.take(batch(errors([0, 20, 25, 29]), EVENTS))) == ["open burst"]
    assert found.at(START + 38 * MINUTE) == []
    assert found.at(START + 40 * MINUTE)[0] == Resolved(
        found_id(found, errors([0, 20, 25, 29])), START + 39 * MINUTE, "no error since"
    )
    assert told(found.take(batch(errors([41, 42, 43]), EVENTS, 4))) == ["open burst"]


def found_id(_alerts: PartitionAlerts, records: list[dict[str, Any]]) -> str:
    [opened] = alerts(BURST, partition=EVENTS).take(batch(records, EVENTS))
    return opened.alert_id


def test_a_value_unlike_its_past_is_an_anomaly_with_its_score() -> None:
    noise = random.Random(3)
    values = [50 + noise.gauss(0, 1) for _ in range(400)]
    values[300] = 75.0
    found = alerts(ANOMALY).take(batch(readings(values)))
    opened = [change for change in found if isinstance(change, Opened) and change.offset == 300]
    assert [(change.key.metric, change.evidence["values"]) for change in opened] == [("temp", {"last": 75.0})]
    assert opened[0].evidence["score"] >= 0.5


def mixed(count: int) -> list[dict[str, Any]]:
    """Five devices with breaches, gaps and spikes."""
    noise = random.Random(7)
    records, clock = [], START
    for i in range(count):
        clock += noise.choice([1000, 5000, 20 * MINUTE if noise.random() < 0.01 else 2000])
        value = 60 + noise.gauss(0, 8) + (60 if noise.random() < 0.01 else 0)
        device = f"pump-{noise.randrange(5)}"
        records.append(
            {"device_id": device, "ts": clock, "seq": i, "metrics": {"temp": value, "load": value / 2}}
        )
    return records


def coming_and_going(count: int) -> list[dict[str, Any]]:
    """Over a month, ever new devices and metrics beside those that stay, some of them hot."""
    noise = random.Random(11)
    records = []
    for i in range(count):
        clock = START + i * 31 * DAY // count
        device, names = f"pump-{noise.randrange(4)}", ["temp", f"m{noise.randrange(4)}"]
        if noise.random() < 0.3:
            device, names = f"pump-{10 + i * 20 // count}", [f"m{noise.randrange(4) + i * 50 // count}"]
        metrics = {name: noise.gauss(70, 6) + (200 if noise.random() < 0.01 else 0) for name in names}
        records.append({"device_id": device, "ts": clock, "seq": i, "metrics": metrics})
    return records


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("records", "limits"),
    [(mixed(3000), LIMITS), (coming_and_going(3000), Limits(series=12, device_series=3, devices=7))],
    ids=["mixed", "at the limits"],
)
def test_batches_and_restarts_change_no_alert(
    seed: int, records: list[dict[str, Any]], limits: Limits
) -> None:
    rules = (HOT, SILENT, {**ANOMALY, "metrics": ["load", *(f"m{i}" for i in range(60))]})
    whole = alerts(*rules, limits=limits).take(batch(records))
    assert {change.kind for change in whole if isinstance(change, Opened)} == {
        "threshold",
        "silence",
        "anomaly",
    }
    cuts = random.Random(seed)
    parts, running, first = [], alerts(*rules, limits=limits), 0
    while first < len(records):
        size = cuts.choice([1, 7, 60, 500])
        parts += running.take(batch(records[first : first + size], first=first))
        first += size
        if cuts.random() < 0.2:
            kept = msgspec.msgpack.encode(running.export(first))
            running = alerts(*rules, limits=limits)
            running.restore(msgspec.msgpack.decode(kept, type=State))
    # A batch's anomalies follow its other changes: the order among one batch's changes is not the records'.
    assert sorted(map(repr, parts)) == sorted(map(repr, whole))


def new_metrics(device: str, count: int, day: int = 0, named: str = "m") -> list[dict[str, Any]]:
    names = [f"{named}{i}" for i in range(count)]
    return [{"device_id": device, "ts": START + day * DAY, "seq": day, "metrics": dict.fromkeys(names, 1.0)}]


def test_what_a_sender_makes_up_takes_no_more_memory_than_its_share(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(series=7, device_series=4, devices=3)
    found = alerts(ANOMALY, limits=limits)
    for named in "ab":
        found.take(batch(new_metrics("pump-1", 5, named=named)))
    found.take(batch([*new_metrics("pump-2", 2), *new_metrics("pump-3", 2), *new_metrics("pump-4", 1)]))
    state = found.export(0)
    assert state.series == [("pump-1", f"a{i}") for i in range(4)] + [
        ("pump-2", "m0"), ("pump-2", "m1"), ("pump-3", "m0"),
    ]  # fmt: skip
    assert list(state.devices) == ["pump-1", "pump-2", "pump-3"]
    words = ["device pump-1 of telemetry_acme has 4", "3) has 7 scored", "3) has 3 devices"]
    assert [each in record.message for each, record in zip(words, caplog.records, strict=True)] == [True] * 3


def test_what_is_unseen_for_a_week_gives_its_place_to_what_is_new() -> None:
    limits = Limits(series=2, device_series=2, devices=2)
    found = alerts(SILENT, ANOMALY, limits=limits)
    found.take(batch([*new_metrics("pump-1", 1), *new_metrics("pump-2", 1)]))
    assert told(found.at(START + DAY)) == ["open silent", "open silent"]
    found.take(batch(new_metrics("pump-2", 1, day=7)))
    [ended] = found.take(batch(new_metrics("pump-3", 1, day=8)))
    assert ended == Resolved(ended.alert_id, START + 7 * DAY, "the device is not heard of any more")
    state = found.export(0)
    assert list(state.devices) == ["pump-2", "pump-3"]
    assert state.series == [("pump-2", "m0"), ("pump-3", "m0")]
    anew = alerts(ANOMALY)
    anew.take(batch(new_metrics("pump-3", 1, day=8)))
    assert state.scores[1] == anew.export(0).scores[0], "nothing is left of whose place it was"


def test_bursts_are_known_of_those_that_were_seen_last() -> None:
    found = alerts(BURST, partition=EVENTS, limits=Limits(bursts=2))
    for device in ("pump-1", "pump-2", "pump-1", "pump-3"):
        found.take(batch(errors([0], device), EVENTS))
    assert [key.device_id for key, _ in found.export(0).bursts] == ["pump-1", "pump-3"]


def test_a_checkpoint_from_before_there_were_limits_is_taken_up_to_them() -> None:
    found = alerts(ANOMALY)
    found.take(batch(new_metrics("pump-1", 5)))
    state = found.export(1)
    state.seen = []
    anew = alerts(ANOMALY, limits=Limits(device_series=3))
    anew.restore(state)
    assert [metric for _, metric in anew.export(1).series] == ["m0", "m1", "m2"]
