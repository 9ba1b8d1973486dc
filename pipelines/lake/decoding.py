"""Bronze objects to Arrow tables of what their lines hold."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from iotops.records import MAX_METRICS, MIN_TS_MS, Event, Reading
from iotops.tenancy import Tenant
from pipelines.lake.bronze_lines import (
    LATEST_MS,
    NO_ENVELOPE,
    Envelope,
    read_lines,
    read_records,
    refusal,
)
from pipelines.lake.measurements import check_measurements
from pipelines.lake.reading_rules import ReadingRules
from pipelines.lake.record_tables import (
    EVENTS,
    READINGS,
    line_table,
    measurement_table,
    quarantine_table,
    record_table,
)

Refused = list[tuple[int, str, str]]
"""Rows of the lines, the text of each and why it is refused."""


class StoredEvent(Event, gc=False):
    """An event as the gateways write it: `ts` is epoch milliseconds."""

    ts: int


@dataclass(frozen=True)
class Decoded:
    """What objects hold, as the tables of `record_tables`."""

    lines: pa.Table
    readings: pa.Table
    measurements: pa.Table
    events: pa.Table
    quarantine: pa.Table


class BronzeDecoder:
    """Decodes the objects of a tenant.

    A record whose timestamp lies more than `max_future_s` (s) after its arrival is refused.
    """

    def __init__(self, tenant: Tenant, rules: ReadingRules, max_future_s: int) -> None:
        self.tenant, self.rules, self.max_future_ms = tenant, rules, max_future_s * 1000
        self.contracts: dict[str, type[Reading] | type[Event]] = {
            tenant.telemetry_topic: rules.contract,
            tenant.events_topic: StoredEvent,
        }
        self.decoders: dict[str, msgspec.json.Decoder[Any]] = {
            topic: msgspec.json.Decoder(contract) for topic, contract in self.contracts.items()
        }
        self.readings = pa.schema([*READINGS, *rules.arrow_fields])

    def decode(self, objects: Iterable[tuple[str, datetime, bytes]]) -> Decoded:
        """Decode objects, given by path, arrival hour and lines; nothing that can be in one raises."""
        collecting = gc.isenabled()
        gc.disable()  # records hold no cycles, and looking for some costs as much as decoding
        try:
            return _concatenated([self._decode(*each) for each in objects])
        finally:
            if collecting:
                gc.enable()

    def _decode(self, path: str, hour: datetime, content: bytes) -> Decoded:
        numbered = read_lines(content)
        lines = [line for _, line in numbered]
        refused: Refused = []
        by_topic: dict[str, list[int]] = {topic: [] for topic in self.contracts}
        for row, line in enumerate(lines):
            if isinstance(line, str):
                refused.append((row, line, NO_ENVELOPE))
            elif line.topic in by_topic:
                by_topic[line.topic].append(row)
            else:
                refused.append((row, line.value, f"identity_mismatch: topic {line.topic}"))
        event_rows, events = self._records(self.tenant.events_topic, by_topic, lines, refused)
        rows, readings = self._records(self.tenant.telemetry_topic, by_topic, lines, refused)
        measurements, bad = check_measurements(measurement_table(readings), readings, self.rules)
        owners = measurements["reading"].to_numpy()
        for measurement, reason in bad:
            row = rows[owners[measurement]]
            refused.append((row, lines[row].value, reason))
        if bad:
            kept = np.delete(np.arange(len(measurements)), [measurement for measurement, _ in bad])
            measurements = measurements.take(kept)
        return Decoded(
            lines=line_table(path, hour, numbered),
            readings=record_table(self.readings, rows, readings),
            measurements=measurements,
            events=record_table(EVENTS, event_rows, events),
            quarantine=quarantine_table(refused),
        )

    def _records(
        self, topic: str, by_topic: dict[str, list[int]], lines: list[Any], refused: Refused
    ) -> tuple[list[int], list[Any]]:
        """The rows and records of a topic that keep its contract; the others are added to `refused`."""
        envelopes: list[Envelope] = [lines[row] for row in by_topic[topic]]
        records = read_records([line.value for line in envelopes], self.decoders[topic])
        latest = [min(line.timestamp + self.max_future_ms, LATEST_MS) for line in envelopes]
        mine = (None, self.tenant.id)
        # What the contract asks beyond types.
        bad = [
            index
            for index, record in enumerate(records)
            if record is None
            or not MIN_TS_MS <= record.ts <= latest[index]
            or record.tenant_id not in mine
            or not (topic == self.tenant.events_topic or 0 < len(record.metrics) <= MAX_METRICS)
        ]
        for index in bad:
            text = envelopes[index].value
            reason = refusal(text, self.contracts[topic], self.tenant, latest[index])
            refused.append((by_topic[topic][index], text, reason))
        if not bad:
            return by_topic[topic], list(records)
        good = np.delete(np.arange(len(records)), bad).tolist()
        return [by_topic[topic][index] for index in good], [records[index] for index in good]


def _concatenated(parts: Sequence[Decoded]) -> Decoded:
    """The objects' tables as one of each, rows numbered on."""
    tables: dict[str, list[pa.Table]] = {name: [] for name in Decoded.__dataclass_fields__}
    lines = readings = 0
    for part in parts:
        for name, column, before in (
            ("readings", "record", lines), ("events", "record", lines), ("quarantine", "record", lines),
            ("measurements", "reading", readings),
        ):  # fmt: skip
            table: pa.Table = getattr(part, name)
            numbers = pa.array(table[column].to_numpy() + before, pa.int64())
            tables[name].append(table.set_column(0, column, numbers))
        tables["lines"].append(part.lines)
        lines += part.lines.num_rows
        readings += part.readings.num_rows
    return Decoded(**{name: pa.concat_tables(each).unify_dictionaries() for name, each in tables.items()})
