"""Decoded bronze to silver rows: each record and each measurement once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipelines.lake.decoding import Decoded
from pipelines.lake.keys import first_rows

KEYS = {
    "telemetry": ("device_id", "ts", "metric"),
    "events": ("device_id", "ts", "type", "error_code", "message"),
}
"""What makes two rows the same measurement, or the same event, however often they were sent."""

KINDS = ("duplicate", "telemetry", "events", "quarantine")
"""What became of a record. One of which some metrics were refused counts as quarantined."""


@dataclass(frozen=True)
class SilverRows:
    """Rows by silver table; and what became (`KINDS`) of each record, beside its arrival hour."""

    tables: dict[str, pa.Table]
    records: pa.Table


def silver_rows(decoded: Decoded, known: Mapping[str, pa.Table]) -> SilverRows:
    """The rows to write. Among equals the first arrival wins.

    `known` has, by the name of the silver table, the `KEYS` columns of rows that silver has already; a table
    may be left out.
    """
    fresh = _without_repeats(decoded)
    telemetry = _telemetry(fresh, known.get("telemetry"))
    events = _placed(fresh.events, fresh.lines)
    events = events.filter(pa.array(first_rows(events, KEYS["events"], known.get("events"))))
    quarantine = _placed(fresh.quarantine, fresh.lines)
    tables = {"telemetry": telemetry, "events": events, "quarantine": quarantine}
    kinds = np.zeros(decoded.lines.num_rows, np.int8)
    for number, kind in enumerate(KINDS[1:], start=1):
        kinds[tables[kind]["record"].to_numpy()] = number
    kind = pa.DictionaryArray.from_arrays(pa.array(kinds), list(KINDS))
    records = pa.table({"arrival_hour": decoded.lines["arrival_hour"], "kind": kind})
    return SilverRows(tables, records)


def _without_repeats(decoded: Decoded) -> Decoded:
    """Without the records that stand at a Kafka position for the second time.

    A position alone is no identity: a topic that is made anew counts from 0 again.
    """
    position = ("topic", "kafka_partition", "kafka_offset", "arrived_ms")
    fresh = first_rows(decoded.lines, position) | decoded.lines["kafka_offset"].is_null().to_numpy()
    if fresh.all():
        return decoded
    readings = fresh[decoded.readings["record"].to_numpy()]
    number = np.cumsum(readings) - 1  # of each reading among those that stay
    owners = decoded.measurements["reading"].to_numpy()
    measurements = decoded.measurements.filter(pa.array(readings[owners]))
    owners = number[owners[readings[owners]]]
    return replace(
        decoded,
        readings=decoded.readings.filter(pa.array(readings)),
        measurements=measurements.set_column(0, "reading", pa.array(owners)),
        events=decoded.events.filter(pa.array(fresh[decoded.events["record"].to_numpy()])),
        quarantine=decoded.quarantine.filter(pa.array(fresh[decoded.quarantine["record"].to_numpy()])),
    )


def _telemetry(decoded: Decoded, known: pa.Table | None) -> pa.Table:
    """A row for each measurement, once."""
    readings, measurements = _placed(decoded.readings, decoded.lines), decoded.measurements
    of_reading, of_measurement = KEYS["telemetry"][:2], KEYS["telemetry"][2]
    # Where no device has two readings of one time, no measurement can be there twice.
    if not first_rows(readings, of_reading, known).all():
        keys = readings.select(of_reading).take(measurements["reading"])
        keys = keys.append_column(of_measurement, measurements[of_measurement])
        measurements = measurements.filter(pa.array(first_rows(keys, KEYS["telemetry"], known)))
    rows = readings.take(measurements["reading"])
    for name in ("metric", "value"):
        rows = rows.append_column(name, measurements[name])
    return rows


def _placed(records: pa.Table, lines: pa.Table) -> pa.Table:
    """Records beside the lines that they came from."""
    places = lines.take(records["record"])
    for name in places.column_names:
        records = records.append_column(name, places[name])
    return records
