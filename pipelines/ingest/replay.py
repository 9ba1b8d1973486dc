"""Replaying a recorded fleet through the gateway: the Azure predictive-maintenance CSV layout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from iotops.auth import issue_token
from iotops.errors import IotOpsError
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.http_sender import Post, SendReport, gateway_client, send

BATCH = 200
CONCURRENCY = 8
METRICS = ("volt", "rotate", "pressure", "vibration")
DATE_FORMATS = ["%Y-%m-%d %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"]  # the sample is in circulation with both


@dataclass(frozen=True)
class Batch:
    """Records of one device; `due` is the event time (epoch s) of the last one."""

    post: Post
    due: float


def device_id(machine: int) -> str:
    """The device id of a machine of the data set."""
    return f"machine-{machine:03d}"


def read_fleet(directory: Path) -> list[Batch]:
    """The recorded fleet as batches in order of time, a device at a time within each.

    `directory` holds `PdM_telemetry.csv` and `PdM_machines.csv`, and may hold `PdM_errors.csv`,
    `PdM_failures.csv` and `PdM_maint.csv`. Raises `IotOpsError` naming a missing file.
    """
    machines = {row["machineID"]: row for row in read_table(directory / "PdM_machines.csv").to_pylist()}
    telemetry = read_table(directory / "PdM_telemetry.csv").sort_by(
        [("machineID", "ascending"), ("datetime", "ascending")]
    )
    batches: list[Batch] = []
    for machine, rows in _by_machine(telemetry):
        model = machines.get(machine, {}).get("model")
        times, values = (
            rows["datetime"].cast(pa.int64()).to_pylist(),
            [rows[name].to_pylist() for name in METRICS],
        )
        records = [
            {"ts": ts, "seq": seq, "model": model, "metrics": dict(zip(METRICS, metrics, strict=True))}
            for seq, (ts, *metrics) in enumerate(zip(times, *values, strict=True))
        ]
        batches += _batches(device_id(machine), "/v1/telemetry", records)
    events: dict[int, list[dict[str, Any]]] = {}
    for name, describe in EVENT_FILES.items():
        if (directory / name).is_file():
            for row in read_table(directory / name).to_pylist():
                record = {"ts": int(row["datetime"].timestamp() * 1000), **describe(row)}
                events.setdefault(row["machineID"], []).append(record)
    for machine, records in events.items():
        batches += _batches(
            device_id(machine), "/v1/events", sorted(records, key=lambda record: record["ts"])
        )
    return sorted(batches, key=lambda batch: batch.due)


EVENT_FILES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "PdM_errors.csv": lambda row: {
        "type": "error", "severity": "error", "error_code": row["errorID"],
        "message": f"controller reported {row['errorID']}",
    },
    "PdM_failures.csv": lambda row: {"type": "failure", "severity": "critical", "message": row["failure"]},
    "PdM_maint.csv": lambda row: {"type": "maintenance", "severity": "info", "message": row["comp"]},
}  # fmt: skip


async def replay(
    settings: Settings,
    tenant: Tenant,
    directory: Path,
    *,
    speed: float | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SendReport:
    """Post the fleet to the gateway, each device with its own token, in order per device.

    `speed` is simulated seconds per second; none means as fast as the gateway takes it. A 429 or 503 is
    sent again with back-off, as a device would. `on_progress(done, total)` counts records.
    """
    batches = read_fleet(directory)
    total, report = sum(batch.post.records for batch in batches), SendReport()
    queues: dict[str, asyncio.Queue[Batch | None]] = {}
    gate = asyncio.Semaphore(CONCURRENCY)
    done = 0

    async def device(client: httpx.AsyncClient, name: str, queue: asyncio.Queue[Batch | None]) -> None:
        nonlocal done
        token = issue_token(settings.auth, tenant, name, "device")
        while (batch := await queue.get()) is not None:
            async with gate:
                await send(client, token, batch.post, report)
            done += batch.post.records
            on_progress(done, total)

    async with gateway_client(settings.serve) as client, asyncio.TaskGroup() as group:
        for name in {batch.post.sender for batch in batches}:
            queues[name] = asyncio.Queue()
            group.create_task(device(client, name, queues[name]))
        started, first = time.monotonic(), batches[0].due if batches else 0.0
        for batch in batches:
            if speed:
                await asyncio.sleep(max(0.0, (batch.due - first) / speed - (time.monotonic() - started)))
            queues[batch.post.sender].put_nowait(batch)
        for queue in queues.values():
            queue.put_nowait(None)
    return report


def _batches(device: str, path: str, records: list[dict[str, Any]]) -> Iterator[Batch]:
    for start in range(0, len(records), BATCH):
        part = records[start : start + BATCH]
        body = b"\n".join(map(orjson.dumps, part))
        yield Batch(Post(device, path, body, len(part)), part[-1]["ts"] / 1000)


def _by_machine(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Slices of a table sorted by machine."""
    runs = pc.value_counts(table["machineID"])
    start = 0
    for run in runs.to_pylist():
        yield run["values"], table.slice(start, run["counts"])
        start += run["counts"]


def read_table(path: Path) -> pa.Table:
    """A CSV of the layout, `datetime` as UTC milliseconds."""
    if not path.is_file():
        raise IotOpsError(f"{path.name} is missing in {path.parent}: the PdM layout needs it")
    options = csv.ConvertOptions(timestamp_parsers=DATE_FORMATS)
    table = csv.read_csv(path, convert_options=options)
    if "datetime" in table.column_names:
        stamped = table["datetime"].cast(pa.timestamp("ms", tz="UTC"))
        table = table.set_column(table.column_names.index("datetime"), "datetime", stamped)
    return table
