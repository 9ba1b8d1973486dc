"""Bronze lines to silver rows: the good ones pass, each bad one lands in quarantine with its reason."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from iotops.errors import SettingsError
from iotops.tenancy import Tenant
from pipelines.lake.decoding import BronzeDecoder, Decoded
from pipelines.lake.deduplication import KEYS, silver_rows
from pipelines.lake.known import MAX_RANGES, hour_ranges
from pipelines.lake.reading_rules import ReadingRules, load_reading_rules

ACME = Tenant("acme")
CONFIGS = Path(__file__).parents[2] / "configs"
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


def decoded(*lines: str, rules: ReadingRules | None = None) -> Decoded:
    """The lines decoded, as one object."""
    objects = [("o", HOUR, "\n".join(lines).encode() + b"\n")]
    return BronzeDecoder(ACME, rules or load_reading_rules(CONFIGS), max_future_s=600).decode(objects)


def rows(
    *lines: str, known: dict[str, pa.Table] | None = None, rules: ReadingRules | None = None
) -> list[dict[str, Any]]:
    """The silver rows of one object, without their nulls."""
    tables = silver_rows(decoded(*lines, rules=rules), known or {}).tables
    found = [{"kind": kind} | row for kind, table in tables.items() for row in table.to_pylist()]
    found.sort(key=lambda row: (row["line"], row["kind"], row.get("metric") or ""))
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def became(*lines: str, known: dict[str, pa.Table] | None = None) -> list[str]:
    """What became of each record."""
    kinds: list[str] = silver_rows(decoded(*lines), known or {}).records["kind"].to_pylist()
    return kinds


def test_a_reading_becomes_a_row_per_metric_with_its_position() -> None:
    first, second = rows(
        line(READING | {"model": "HX-200", "firmware": "1.2", "colour": {"x": [1]}}, 12, partition=3)
    )
    assert (first["metric"], first["value"], second["metric"], second["value"]) == ("a", 1.5, "b", -2.0)
    assert {row["kind"] for row in (first, second)} == {"telemetry"}
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
    ("invalid_type", "[1]", "a JSON object, got list"),
    ("invalid_type", "null", "a JSON object, got NoneType"),
    ("invalid_text", READING | {"firmware": "a\0b"}, "NUL"),
    ("identity_mismatch", READING | {"tenant_id": "other"}, "tenant_id"),
    ("missing_field", {"ts": TS, "metrics": {"a": 1}}, "device_id"),
    ("invalid_type", READING | {"device_id": 5}, "device_id"),
    ("invalid_type", READING | {"device_id": "../x"}, "device_id"),
    ("invalid_type", READING | {"device_id": "pump-1\n"}, "device_id"),
    ("invalid_type", READING | {"ts": None}, "ts"),
    ("invalid_type", READING | {"ts": "2026-11-02T15:00:00Z"}, "ts"),
    ("invalid_type", READING | {"ts": TS + 0.5}, "ts"),
    ("invalid_type", READING | {"ts": 10**30}, "ts"),
    ("invalid_timestamp", READING | {"ts": 12}, "2000"),
    ("future_timestamp", READING | {"ts": ARRIVED + 601_000}, "in the future"),
    ("missing_field", {name: READING[name] for name in ("device_id", "ts")}, "metrics"),
    ("missing_field", READING | {"metrics": {}}, "metrics"),
    ("invalid_type", READING | {"metrics": [1, 2]}, "$.metrics"),
    ("invalid_type", READING | {"metrics": {"a": 1, "b": "NaN"}}, "'b' is 'NaN'"),
    ("invalid_type", READING | {"metrics": {"a": True}}, "'a' is True"),
    ("invalid_type", READING | {"metrics": {"a": None}}, "'a' is None"),
    ("invalid_type", READING | {"metrics": {"": 1}}, "$.metrics"),
    ("not_finite", READING | {"metrics": {"a": float("nan")}}, "not a JSON document"),
    ("not_finite", json.dumps(READING).replace("1.5", "1e999"), "infinity"),
    ("too_large", READING | {"metrics": {f"m{i}": i for i in range(257)}}, "257 metrics"),
    ("invalid_type", READING | {"seq": -1}, "seq"),
    ("invalid_type", READING | {"seq": "7"}, "seq"),
    ("invalid_type", READING | {"model": 3}, "model"),
    ("invalid_type", READING | {"firmware": "x" * 65}, "firmware"),
    ("too_deep", "[" * 30_000, "levels"),
    ("invalid_type", json.dumps(READING).replace("1.5", "[" * 1010 + "]" * 1010), "'a' is [[["),
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
    [({"type": None}, "type"), ({"type": 3}, "type"), ({"severity": "bad"}, "severity"),
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
    lines = (line(READING, 5), line(READING, 5), line('{"bad"', 6), line('{"bad"', 6))
    assert became(*lines) == ["telemetry", "duplicate", "quarantine", "duplicate"]
    assert [row["kind"] for row in rows(*lines)] == ["telemetry", "telemetry", "quarantine"]


def test_a_topic_made_anew_loses_nothing_to_its_old_positions() -> None:
    later = line(READING | {"ts": TS + 1}, 5).replace(str(ARRIVED), str(ARRIVED + 60_000))
    assert became(line(READING, 5), later) == ["telemetry", "telemetry"]


def test_a_reading_sent_twice_is_written_once_the_first_line_winning() -> None:
    again = READING | {"metrics": {"a": 99, "c": 3}}
    written = {row["metric"]: row["value"] for row in rows(line(READING, 5), line(again, 8))}
    assert written == {"a": 1.5, "b": -2.0, "c": 3.0}
    assert became(line(READING, 5), line(again, 8)) == ["telemetry", "telemetry"]
    assert became(line(READING, 5), line(READING, 8)) == ["telemetry", "duplicate"]


def test_a_metric_named_twice_has_its_last_value() -> None:
    text = json.dumps(READING).replace('"b": -2', '"a": 4')
    (kept,) = rows(line(text))
    assert kept["value"] == 4.0


def test_an_event_sent_twice_is_written_once_without_a_code_too() -> None:
    event = EVENT | {"error_code": None}
    lines = [line(event, i, topic="events_acme") for i in (1, 2)]
    assert became(*lines) == ["events", "duplicate"]


def test_what_silver_has_from_other_hours_is_not_written_again() -> None:
    known = silver_rows(decoded(line(READING, 1)), {}).tables["telemetry"].select(list(KEYS["telemetry"]))
    lines = (line(READING, 9), line(READING | {"ts": TS + 1}, 10))
    assert became(*lines, known={"telemetry": known}) == ["duplicate", "telemetry"]


def test_two_documents_in_one_text_are_no_record() -> None:
    two = json.dumps(READING) + " " + json.dumps(READING | {"device_id": "pump-2"})
    assert became(line(two), line("  ", 1), line(READING, 2)) == ["quarantine", "quarantine", "telemetry"]


def test_blank_lines_keep_the_numbers_of_the_others() -> None:
    assert {row["line"] for row in rows("", line(READING, 1), "", line(READING | {"ts": TS + 1}, 2))} == {
        2,
        4,
    }


def hours(*numbers: int) -> pa.ChunkedArray:
    """Times within these hours since the first of the month."""
    times = [HOUR.replace(day=1, hour=0) + timedelta(hours=number, minutes=7) for number in numbers]
    return pa.chunked_array([pa.array(times, pa.timestamp("us", tz="UTC"))])


def test_neighbouring_hours_are_one_range() -> None:
    first = HOUR.replace(day=1, hour=0)
    ranges = [
        (int((start - first) / timedelta(hours=1)), int((end - first) / timedelta(hours=1)))
        for start, end in hour_ranges(hours(13, 15, 14, 20))
    ]
    assert ranges == [(13, 16), (20, 21)]


def test_many_ranges_are_joined_across_the_shortest_gaps() -> None:
    late = [number * 5 for number in range(100)]
    ranges = hour_ranges(hours(*late, 700))
    assert len(ranges) <= MAX_RANGES
    assert ranges[-1][0] == HOUR.replace(day=30, hour=4)


RULES = ReadingRules.model_validate(
    {
        "metrics": {"temperature": {"unit": "degC", "min": -50, "max": 120}, "flow": {"unit": "m**3/h"}},
        "models": {"HX-200": {"temperature": {"max": 90}}},
        "fields": {"site": "string", "slot": "int"},
    }
)


def measured(change: dict[str, Any], **metrics: float) -> list[dict[str, Any]]:
    return rows(line(READING | {"metrics": metrics} | change), rules=RULES)


def test_a_value_out_of_range_is_quarantined_and_the_other_metrics_stay() -> None:
    bad, good = measured({}, temperature=400, a=1)
    assert (bad["kind"], good["kind"], good["metric"]) == ("quarantine", "telemetry", "a")
    assert bad["reason"] == "out_of_range: metrics.temperature 400 degC is not at least -50 and at most 120"
    assert json.loads(bad["raw"])["metrics"]["temperature"] == 400


def test_a_model_has_limits_of_its_own() -> None:
    hot = {"temperature": 100}
    assert [row["kind"] for row in measured({"model": "PX-90"}, **hot)] == ["telemetry"]
    (refused,) = measured({"model": "HX-200"}, **hot)
    assert refused["reason"].endswith("is not at least -50 and at most 90 for model HX-200")


@pytest.mark.parametrize(
    ("metric", "unit", "sent", "kept"),
    [("temperature", "degF", 212, 100), ("temperature", "kelvin", 273.15, 0), ("temperature", "degC", 7, 7),
     ("flow", "l/s", 1, 3.6), ("a", "furlong", 5, 5)],
)  # fmt: skip
def test_a_reading_in_another_unit_is_converted(metric: str, unit: str, sent: float, kept: float) -> None:
    (row,) = measured({"units": {metric: unit}}, **{metric: sent})
    assert row["value"] == pytest.approx(kept)


@pytest.mark.parametrize("unit", ["kPa", "no unit", "", "degC +", "__import__('os')", "9" * 300])
def test_a_unit_that_cannot_be_converted_is_quarantined(unit: str) -> None:
    bad, good = measured({"units": {"temperature": unit}}, temperature=20, a=1)
    assert (bad["kind"], good["metric"]) == ("quarantine", "a")
    assert bad["reason"].startswith("unknown_unit: metrics.temperature is in ")


def test_fields_of_the_configuration_become_columns() -> None:
    (row,) = measured({"site": "hall 4", "slot": 3}, a=1)
    assert (row["site"], row["slot"]) == ("hall 4", 3)
    (bad,) = measured({"slot": 2**31}, a=1)
    assert bad["reason"].startswith("invalid_type: ")


@pytest.mark.parametrize(
    ("rules", "words"),
    [("metrics: {t: {min: 3, max: 2}}", "min 3 is larger than max 2"),
     ("metrics: {t: {unit: furlongg}}", "'furlongg' is not a unit"),
     ("fields: {device_id: string}", "'device_id' is a column"),
     ("fields: {site: varchar}", "fields.site"),
     ("metric: {}", "metric: Extra inputs"), ("metrics: [", "readings.yaml")],
)  # fmt: skip
def test_bad_rules_are_named(tmp_path: Path, rules: str, words: str) -> None:
    (tmp_path / "readings.yaml").write_text(rules)
    with pytest.raises(SettingsError, match=re.escape(words)):
        load_reading_rules(tmp_path)
