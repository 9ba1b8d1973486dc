import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotops.records import Event, Reading, parse_batch

NOW = int(time.time() * 1000)


def parse(*lines, contract=Reading, device="pump-1"):
    raw = [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]
    return parse_batch(
        raw, contract, tenant_id="acme", device_id=device, max_line_bytes=4000, max_future_s=600
    )


def reading(**changes):
    return {"ts": NOW, "metrics": {"volt": 170.5}, **changes}


def test_a_reading_is_stamped_with_its_sender_and_keeps_unknown_fields():
    parsed = parse(reading(ts="2026-01-02T03:04:05+01:00", site="hall 4"))
    [(device, record)] = parsed.accepted
    assert device == "pump-1"
    assert orjson.loads(record) == {
        "device_id": "pump-1", "tenant_id": "acme", "ts": 1767319445000, "metrics": {"volt": 170.5},
        "site": "hall 4", "v": 1,
    }  # fmt: skip


def deep(levels, field):
    """A reading with a field of nested lists."""
    nested = b"[" * levels + b"]" * levels
    return orjson.dumps(reading(**{field: {"volt": "deep"}})).replace(b'"deep"', nested)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{not json", "invalid_json"),
        (b'{"a": "\xff"}', "invalid_utf8"),
        (b"[1]", "invalid_type"),
        (b'{"device_id": "pump-1\\n", "ts": 1767319445000, "metrics": {"volt": 1}}', "invalid_type"),
        (b'{"metrics": {"volt": NaN}, "ts": 1}', "not_finite"),
        (reading(metrics={"volt": "170"}), "invalid_type"),
        (reading(metrics={"volt": True}), "invalid_type"),
        (reading(metrics={"volt": None}), "invalid_type"),
        (b'{"ts": %d, "metrics": {"volt": 1e999}}' % NOW, "not_finite"),
        (reading(metrics={}), "missing_field"),
        (reading(metrics={f"m{i}": 1 for i in range(300)}), "too_large"),
        ({"ts": NOW}, "missing_field"),
        (reading(ts="yesterday"), "invalid_timestamp"),
        (reading(ts="2026-01-02T03:04:05"), "naive_timestamp"),
        (reading(ts=NOW + 86_400_000), "future_timestamp"),
        (reading(ts=1_700_000_000), "invalid_timestamp"),
        (b'{"ts": %d, "metrics": {"volt": 1}}' % 2**70, "invalid_type"),
        (reading(seq=-1), "invalid_type"),
        (reading(tenant_id="umbrella"), "identity_mismatch"),
        (reading(device_id="pump-2"), "identity_mismatch"),
        (reading(device_id="../../etc"), "invalid_type"),
        (reading(model="x\u0000y"), "invalid_text"),
        (reading(note="x" * 5000), "too_large"),
        (deep(300, "note"), "too_deep"),
        (deep(1500, "note"), "too_deep"),
        (deep(1020, "metrics"), "invalid_type"),
    ],
)
def test_each_defect_has_its_own_code(line, code):
    parsed = parse(reading(), line, reading())
    assert [(rejection.line, rejection.code) for rejection in parsed.rejected] == [(2, code)]
    assert len(parsed.accepted) == 2


def test_a_fleet_gateway_names_the_device_in_each_record():
    parsed = parse(reading(device_id="a"), reading(device_id="b"), reading(), device=None)
    assert [device for device, _ in parsed.accepted] == ["a", "b"]
    assert [rejection.code for rejection in parsed.rejected] == ["missing_field"]


def test_an_event_has_a_severity_from_the_list():
    parsed = parse(
        {"ts": NOW, "type": "error", "severity": "error", "error_code": "E421"},
        {"ts": NOW, "type": "error", "severity": "terrible"},
        contract=Event,
    )
    assert (len(parsed.accepted), len(parsed.rejected)) == (1, 1)


def test_an_error_that_nobody_foresaw_refuses_the_record_that_raises_it_alone(caplog):
    class Unforeseen(Reading):
        def __post_init__(self):
            if self.seq == 7:
                raise ZeroDivisionError

    parsed = parse(reading(), reading(seq=7), reading(), contract=Unforeseen)
    assert [(each.line, each.code) for each in parsed.rejected] == [(2, "internal_error")]
    assert (len(parsed.accepted), "ZeroDivisionError" in caplog.text) == (2, True)


@given(st.lists(st.binary(max_size=200).filter(lambda line: b"\n" not in line)))
def test_no_bytes_break_the_parser_and_none_get_lost(lines):
    parsed = parse(*lines)
    assert len(parsed.accepted) + len(parsed.rejected) == sum(bool(line.strip()) for line in lines)


def test_a_bad_metric_is_named_with_its_value():
    [rejection] = parse(reading(metrics={"volt": 1.0, "load": "high"})).rejected
    assert rejection.message == "metric 'load' is 'high': send a number"
