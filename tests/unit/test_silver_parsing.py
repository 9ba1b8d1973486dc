"""Bronze lines to silver rows: the good ones pass, each bad one lands in quarantine with its reason."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from iotops.tenancy import Tenant
from pipelines.lake.known import day_ranges
from pipelines.lake.parsing import KEYS, OBJECTS, PARSED, mark_known, parse

ACME = Tenant("acme")
HOUR = datetime(2026, 11, 2, 15, tzinfo=UTC)
ARRIVED = int(HOUR.timestamp() * 1000) + 60_000
TS = ARRIVED - 1000
READING = {
    "tenant_id": "acme",
    "device_id": "pump-1",
    "ts": TS,
    "seq": 7,
    "metrics": {"a": 1.5, "b": -2},
    "v": 1,
}
EVENT = {"tenant_id": "acme", "device_id": "pump-1", "ts": TS, "type": "error", "error_code": "E421", "v": 1}


def line(value: Any, offset: int = 0, topic: str = "telemetry_acme", partition: int = 0) -> str:
    """A line as the bronze sink writes it."""
    value = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(
        {"topic": topic, "partition": partition, "offset": offset, "timestamp": ARRIVED, "value": value}
    )


def rows(*lines: str, known: dict[str, pa.Table] | None = None) -> list[dict[str, Any]]:
    """The parsed rows of one object, without their nulls."""
    objects = pa.table([["o"], [HOUR], ["\n".join(lines) + "\n"]], schema=OBJECTS)
    table = mark_known(parse(objects, ACME, max_future_s=600), known or {})
    assert table.schema == PARSED
    ordered = table.sort_by([("line", "ascending"), ("metric", "ascending")]).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in ordered]


def test_a_reading_becomes_a_row_per_metric_with_its_position() -> None:
    first, second = rows(
        line(READING | {"model": "HX-200", "firmware": "1.2", "colour": {"x": [1]}}, 12, partition=3)
    )
    assert (first["metric"], first["value"], second["metric"], second["value"]) == ("a", 1.5, "b", -2.0)
    assert {row["kind"] for row in (first, second)} == {"telemetry"}
    assert [first["leads"], second["leads"]].count(True) == 1
    assert first["ts"] == datetime.fromtimestamp(TS / 1000, UTC)
    assert (first["seq"], first["model"], first["firmware"]) == (7, "HX-200", "1.2")
    assert (first["topic"], first["kafka_partition"], first["kafka_offset"]) == ("telemetry_acme", 3, 12)
    assert first["arrival_hour"] == HOUR


def test_an_event_keeps_its_fields_and_gets_the_default_severity() -> None:
    (row,) = rows(line(EVENT | {"message": "bearing"}, topic="events_acme"))
    assert (row["kind"], row["type"], row["severity"]) == ("events", "error", "info")
    assert (row["error_code"], row["message"]) == ("E421", "bearing")


REFUSED: list[tuple[str, Any, str]] = [
    ("invalid_json", '{"device_id":', "not a JSON document"),
    ("invalid_json", "", "not a JSON document"),
    ("invalid_type", "[1]", "not a JSON object"),
    ("invalid_type", "null", "not a JSON object"),
    ("invalid_text", READING | {"firmware": "a\0b"}, "NUL"),
    ("identity_mismatch", READING | {"tenant_id": "other"}, "tenant_id"),
    ("missing_field", {"ts": TS, "metrics": {"a": 1}}, "device_id"),
    ("invalid_type", READING | {"device_id": 5}, "device_id"),
    ("invalid_type", READING | {"device_id": "../x"}, "device_id"),
    ("invalid_type", READING | {"device_id": "pump-1\n"}, "device_id"),
    ("missing_field", READING | {"ts": None}, "ts"),
    ("invalid_type", READING | {"ts": "2026-11-02T15:00:00Z"}, "ts"),
    ("invalid_type", READING | {"ts": TS + 0.5}, "ts"),
    ("invalid_type", READING | {"ts": 10**30}, "ts"),
    ("invalid_timestamp", READING | {"ts": 12}, "2000"),
    ("future_timestamp", READING | {"ts": ARRIVED + 601_000}, "after the arrival"),
    ("missing_field", {name: READING[name] for name in ("device_id", "ts")}, "metrics"),
    ("missing_field", READING | {"metrics": {}}, "metrics"),
    ("invalid_type", READING | {"metrics": [1, 2]}, "metrics is not an object"),
    ("invalid_type", READING | {"metrics": {"a": 1, "b": "NaN"}}, "metrics.b is not a number"),
    ("invalid_type", READING | {"metrics": {"a": True}}, "metrics.a"),
    ("invalid_type", READING | {"metrics": {"a": None}}, "metrics.a"),
    ("invalid_type", READING | {"metrics": {"": 1}}, "name"),
    ("not_finite", READING | {"metrics": {"a": float("nan")}}, "metrics.a"),
    ("not_finite", json.dumps(READING).replace("1.5", "1e999"), "metrics.a"),
    ("too_large", READING | {"metrics": {f"m{i}": i for i in range(257)}}, "257 metrics"),
    ("invalid_type", READING | {"seq": -1}, "seq"),
    ("invalid_type", READING | {"seq": "7"}, "seq"),
    ("invalid_type", READING | {"model": 3}, "model"),
    ("invalid_type", READING | {"firmware": "x" * 65}, "firmware"),
    ("invalid_json", "[" * 30_000, "not a JSON document"),
]


@pytest.mark.parametrize(("code", "record", "words"), REFUSED)
def test_a_bad_reading_is_quarantined_with_its_reason_and_stops_no_other(
    code: str, record: Any, words: str
) -> None:
    text = record if isinstance(record, str) else json.dumps(record)
    bad, *good = rows(line(text, 0), line(READING, 1))
    assert (bad["kind"], bad["raw"], bad["line"]) == ("quarantine", text, 1)
    assert bad["reason"].startswith(f"{code}: ")
    assert words in bad["reason"]
    assert [row["kind"] for row in good] == ["telemetry", "telemetry"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"type": None}, "missing_field: type"), ({"type": 3}, "type"), ({"severity": "bad"}, "severity"),
     ({"message": "x" * 4097}, "message"), ({"error_code": 421}, "error_code")],
)  # fmt: skip
def test_a_bad_event_is_quarantined(change: dict[str, Any], words: str) -> None:
    (row,) = rows(line(EVENT | change, topic="events_acme"))
    assert row["kind"] == "quarantine"
    assert words in row["reason"]


@pytest.mark.parametrize(
    "text", ["garbage", '{"topic": 1}', '{"topic":"telemetry_acme","partition":0}', "{}"]
)
def test_a_line_that_no_sink_wrote_is_quarantined_whole(text: str) -> None:
    bad, *good = rows(text, line(READING))
    assert (bad["kind"], bad["raw"]) == ("quarantine", text)
    assert bad["reason"].startswith("invalid_envelope")
    assert len(good) == 2


def test_a_record_of_another_topic_is_refused() -> None:
    (row,) = rows(line(READING, topic="telemetry_other"))
    assert row["reason"] == "identity_mismatch: topic telemetry_other"


def test_the_same_position_twice_is_written_once() -> None:
    found = rows(line(READING, 5), line(READING, 5), line('{"bad"', 6), line('{"bad"', 6))
    assert [row["kind"] for row in found] == [
        "telemetry",
        "telemetry",
        "duplicate",
        "quarantine",
        "duplicate",
    ]
    assert sum(row["leads"] for row in found) == 4


def test_a_topic_made_anew_loses_nothing_to_its_old_positions() -> None:
    later = line(READING | {"ts": TS + 1}, 5).replace(str(ARRIVED), str(ARRIVED + 60_000))
    assert {row["kind"] for row in rows(line(READING, 5), later)} == {"telemetry"}


def test_a_reading_sent_twice_is_written_once_the_first_arrival_winning() -> None:
    again = READING | {"metrics": {"a": 99, "c": 3}}
    found = rows(line(again, 8), line(READING, 5))
    written = {row["metric"]: row["value"] for row in found if row["kind"] == "telemetry"}
    assert written == {"a": 1.5, "b": -2.0, "c": 3.0}
    assert [row["metric"] for row in found if row["kind"] == "duplicate"] == ["a"]
    assert sum(row["leads"] for row in found if row["kind"] == "telemetry") == 2


def test_a_metric_named_twice_has_its_last_value() -> None:
    text = json.dumps(READING).replace('"b": -2', '"a": 4')
    (kept,) = (row for row in rows(line(text)) if row["kind"] == "telemetry")
    assert kept["value"] == 4.0


def test_an_event_sent_twice_is_written_once_without_a_code_too() -> None:
    event = EVENT | {"error_code": None}
    assert [row["kind"] for row in rows(*(line(event, i, topic="events_acme") for i in (1, 2)))] == [
        "events",
        "duplicate",
    ]


def test_what_silver_has_from_other_hours_is_not_written_again() -> None:
    objects = pa.table([["o"], [HOUR], [line(READING, 1)]], schema=OBJECTS)
    known = parse(objects, ACME, 600).select(list(KEYS["telemetry"]))
    found = rows(line(READING, 9), line(READING | {"ts": TS + 1}, 10), known={"telemetry": known})
    assert [row["kind"] for row in found] == ["duplicate", "duplicate", "telemetry", "telemetry"]
    assert sum(row["leads"] for row in found) == 2


def test_neighbouring_days_are_one_range() -> None:
    times = [datetime(2026, 11, day, 13, tzinfo=UTC) for day in (4, 2, 3, 9)]
    assert list(day_ranges(pa.chunked_array([pa.array(times, pa.timestamp("us", tz="UTC"))]))) == [
        (datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC)),
        (datetime(2026, 11, 9, tzinfo=UTC), datetime(2026, 11, 10, tzinfo=UTC)),
    ]
