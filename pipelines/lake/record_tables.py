"""The Arrow tables of decoded records: lines, readings, measurements, events, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.lake.bronze_lines import Envelope

UTC_MS, UTC_US = pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="UTC")
TEXT = pa.dictionary(pa.int32(), pa.string())

LINES = pa.schema(
    [
        ("object", TEXT),
        ("line", pa.int64()),
        ("arrival_hour", UTC_US),
        ("topic", TEXT),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("arrived_ms", pa.int64()),
    ]
)
"""Where a record came from: a line of a bronze object; a line that is no record has no Kafka position."""

READINGS = pa.schema(
    [
        ("record", pa.int64()),
        ("device_id", TEXT),
        ("ts", UTC_US),
        ("seq", pa.int64()),
        ("model", TEXT),
        ("firmware", TEXT),
    ]
)
"""A reading without its metrics; `record` is a row of `LINES`. `configs/readings.yaml` adds fields."""

MEASUREMENTS = pa.schema([("reading", pa.int64()), ("metric", TEXT), ("value", pa.float64())])
"""A metric of a reading; `reading` is a row of `READINGS`."""

EVENTS = pa.schema(
    [
        ("record", pa.int64()),
        ("device_id", TEXT),
        ("ts", UTC_US),
        ("type", TEXT),
        ("severity", TEXT),
        ("error_code", TEXT),
        ("message", pa.string()),
    ]
)
QUARANTINE = pa.schema([("record", pa.int64()), ("raw", pa.string()), ("reason", pa.string())])
"""What was refused: the text as it came, and why; a record may be refused for several of its metrics."""


def line_table(path: str, hour: datetime, lines: Sequence[tuple[int, Envelope | str]]) -> pa.Table:
    """`LINES` of one object, from its numbered lines."""
    count, first = len(lines), pa.array(np.zeros(len(lines), np.int32))
    envelopes: list[Any] = [line if isinstance(line, Envelope) else None for _, line in lines]
    columns = [
        pa.DictionaryArray.from_arrays(first, [path]),
        [number for number, _ in lines],
        pa.repeat(pa.scalar(hour, UTC_US), count),
        *(
            [None if line is None else getattr(line, name) for line in envelopes]
            for name in ("topic", "partition", "offset", "timestamp")
        ),
    ]
    return _table(LINES, columns)


def record_table(schema: pa.Schema, indices: Sequence[int], records: Sequence[Any]) -> pa.Table:
    """`READINGS` (with more fields, or without) or `EVENTS`, from the records at these rows of `LINES`."""
    fields = [[getattr(record, name) for record in records] for name in schema.names[1:]]
    return _table(schema, [indices, *fields])


def measurement_table(readings: Sequence[Any]) -> pa.Table:
    """`MEASUREMENTS` of readings."""
    counts = [len(reading.metrics) for reading in readings]
    metrics = [reading.metrics for reading in readings]
    values = list(chain.from_iterable(each.values() for each in metrics))
    return _table(
        MEASUREMENTS, [np.repeat(np.arange(len(counts)), counts), list(chain.from_iterable(metrics)), values]
    )


def quarantine_table(refused: Iterable[tuple[int, str, str]]) -> pa.Table:
    """`QUARANTINE` from `(row of LINES, text, reason)`."""
    columns = [list(column) for column in zip(*refused, strict=True)] or [[], [], []]
    return _table(QUARANTINE, columns)


def _table(schema: pa.Schema, columns: Sequence[Any]) -> pa.Table:
    return pa.table(
        [_array(column, field.type) for field, column in zip(schema, columns, strict=True)], schema=schema
    )


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if kind == TEXT:
        return pa.array(values, pa.string()).dictionary_encode()
    if kind == UTC_US and (not len(values) or isinstance(values[0], int)):  # records have milliseconds
        return pa.array(values, UTC_MS).cast(UTC_US)
    return pa.array(values, kind)
