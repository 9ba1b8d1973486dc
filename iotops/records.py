"""The record contracts: what a device may send, checked once, at the gateway.

A record is decoded once, validated against its contract, stamped with the identity of its authenticated
sender and encoded again with `ts` as epoch milliseconds. Fields that the contract does not know are kept.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from reprlib import repr as shortened
from typing import Annotated, Any, Literal

import msgspec
import orjson

CONTRACT_VERSION = 1
MAX_METRICS = 256
MIN_TS_MS = 946_684_800_000  # 2000-01-01: an earlier clock was never set.
TOO_DEEP = "the record has more than 254 levels: nest its fields less deeply"

NUL = b"\\u0000"  # as JSON writes it; a raw NUL byte is no JSON
# What msgspec raises for a bad document: also where it is nested too deeply.
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

NOT_FINITE = re.compile(rb":\s*-?(?:NaN|Infinity|inf)\b", re.I)
DEVICE_ID = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
DeviceId = Annotated[str, msgspec.Meta(pattern=rf"^{DEVICE_ID}\Z")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Severity = Literal["info", "warning", "error", "critical"]
logger = logging.getLogger(__name__)


class Reading(msgspec.Struct):
    """One telemetry record: metric values of one device at one time."""

    device_id: DeviceId
    ts: int | str
    metrics: dict[Name, float]
    tenant_id: str | None = None
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    firmware: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    model: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class Event(msgspec.Struct):
    """Something that happened to a device: an error, a failure, a maintenance, a state change."""

    device_id: DeviceId
    ts: int | str
    type: Name
    tenant_id: str | None = None
    severity: Severity = "info"
    error_code: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    message: Annotated[str, msgspec.Meta(max_length=4096)] | None = None


Contract = type[Reading] | type[Event]


@dataclass(frozen=True)
class Rejection:
    """Why one line of a batch was refused; `line` counts from 1, `raw` is what was sent."""

    line: int
    code: str
    message: str
    raw: bytes


@dataclass
class Parsed:
    """A batch after validation: `(device_id, encoded record)` pairs, and the lines refused."""

    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


class RecordError(Exception):
    """A record breaks its contract; `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def record_error(error: Exception) -> RecordError:
    """Why a record is refused; what nobody foresaw is logged, and refuses that record alone."""
    if isinstance(error, RecordError):
        return error
    logger.error("a record is refused for an error that no rule foresaw", exc_info=error)
    what = type(error).__name__
    return RecordError("internal_error", f"checking the record failed here with {what}: the log has more")


def parse_batch(
    lines: Iterable[bytes],
    contract: Contract,
    *,
    tenant_id: str,
    device_id: str | None,
    max_line_bytes: int,
    max_future_s: int,
) -> Parsed:
    """Validate NDJSON lines as sent by `device_id` of `tenant_id`; blank lines are skipped.

    The identity comes from the authenticated connection. A record that names another tenant or device is
    refused; one that names none is stamped with the sender's. `device_id=None` is a fleet gateway that may
    speak for every device of its tenant.
    """
    parsed = Parsed()
    latest_ms = int((time.time() + max_future_s) * 1000)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            parsed.accepted.append(_parse(line, contract, tenant_id, device_id, max_line_bytes, latest_ms))
        except Exception as error:  # whatever it is, the other lines are not lost for it
            why = record_error(error)
            parsed.rejected.append(Rejection(number, why.code, str(why), line))
    return parsed


def _parse(
    line: bytes, contract: Contract, tenant_id: str, device_id: str | None, max_bytes: int, latest_ms: int
) -> tuple[str, bytes]:
    if len(line) > max_bytes:
        raise RecordError("too_large", f"the record has {len(line)} bytes; at most {max_bytes} are taken")
    raw, record = read_record(line, contract, tenant_id, device_id)
    raw["tenant_id"] = tenant_id
    raw["ts"] = epoch_ms(record.ts, latest_ms)
    raw["v"] = CONTRACT_VERSION
    try:
        return record.device_id, orjson.dumps(raw)
    except orjson.JSONEncodeError:  # orjson reads deeper documents than it writes
        raise RecordError("too_deep", TOO_DEEP) from None


def read_record(
    line: bytes, contract: Contract, tenant_id: str, device_id: str | None = None
) -> tuple[dict[str, Any], Reading | Event]:
    """A record as the document that was sent and as its contract; raises `RecordError`.

    All is checked but the time. `device_id` is the sender's own, and that of a record that names none.
    """
    try:
        raw: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if "depth" in str(error):
            raise RecordError("too_deep", TOO_DEEP) from None
        raise RecordError(_decode_code(line, str(error)), f"not a JSON document: {error}") from None
    if NUL in line:
        raise RecordError("invalid_text", "the record holds a NUL character, which no database keeps")
    if not isinstance(raw, dict):
        raise RecordError("invalid_type", f"expected a JSON object, got {type(raw).__name__}")
    if device_id is not None:
        raw.setdefault("device_id", device_id)
    try:
        record = msgspec.convert(raw, contract)
    except msgspec.ValidationError as error:
        code = "missing_field" if "missing required field" in str(error) else "invalid_type"
        raise RecordError(code, _bad_metric(raw.get("metrics")) or str(error)) from None
    if record.tenant_id not in (None, tenant_id):
        raise RecordError("identity_mismatch", f"tenant_id {record.tenant_id!r} is not the sender's tenant")
    if device_id not in (None, record.device_id):
        raise RecordError(
            "identity_mismatch", f"device_id {record.device_id!r} is not the sender {device_id!r}"
        )
    if isinstance(record, Reading):
        _check_metrics(record.metrics)
    return raw, record


def _decode_code(line: bytes, problem: str) -> str:
    """JSON has no NaN and no infinity, but devices send them: they get a code of their own."""
    if "UTF-8" in problem:
        return "invalid_utf8"
    return "not_finite" if "infinity" in problem or NOT_FINITE.search(line) else "invalid_json"


def _bad_metric(metrics: Any) -> str | None:
    """The first metric that is no number, which the contract's own message does not name."""
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"metric {name[:64]!r} is {shortened(value)}: send a number"
    return None


def _check_metrics(metrics: dict[str, float]) -> None:
    if not metrics:
        raise RecordError("missing_field", "metrics is empty: send at least one value")
    if len(metrics) > MAX_METRICS:
        raise RecordError(
            "too_large", f"{len(metrics)} metrics in one reading; at most {MAX_METRICS} are taken"
        )


def epoch_ms(ts: int | str, latest_ms: int) -> int:
    """A timestamp as epoch milliseconds; raises `RecordError` where it is naive, absurd or in the future."""
    if isinstance(ts, str):
        try:
            moment = datetime.fromisoformat(ts)
        except ValueError:
            raise RecordError(
                "invalid_timestamp", f"ts {ts[:40]!r} is neither RFC 3339 nor epoch ms"
            ) from None
        if moment.tzinfo is None:
            raise RecordError("naive_timestamp", f"ts {ts!r} has no offset: append 'Z' or '+hh:mm'")
        ts = int(moment.timestamp() * 1000)
    if ts < MIN_TS_MS:
        raise RecordError("invalid_timestamp", f"ts {ts} lies before 2000: send epoch milliseconds")
    if ts > latest_ms:
        raise RecordError("future_timestamp", f"ts {ts} lies in the future: check the device's clock")
    return ts
