"""`python -m benchmarks.lake`: bronze to silver to gold, by us, in Polars and in DuckDB, in one run.

All on one embedded stack, from the same objects to Parquet in the same object store, each in processes of
its own, and gold to Postgres; the peers neither keep an hour's ledger nor look for what silver has already.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.lake.bronze import generate
from benchmarks.lake.measure import Cost, measure
from benchmarks.lake.storage import gold_tenant, output
from iotops.database import engine, tenant_transaction
from iotops.lake import iceberg_catalog, lake_filesystem
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.stack import process
from iotops.stack.ray_node import RayNode
from iotops.tenancy import Tenant
from pipelines.lake.silver_tables import TABLES, table_name

WHOLE, PART = Tenant("bench"), Tenant("bench_part")
SHARE = 5  # the smaller input is this part of the whole
CONTENDERS = {"silver": ("ours", "polars", "duckdb", "floor"), "gold": ("ours", "polars", "duckdb")}
CONTENT = """SELECT count(*), sum(hash(device_id, epoch_us(ts), metric, value) % 1000000007) FROM rows"""
LEDGER = (
    "ingest.lake_hours",
    "gold.failure_risk",
    "gold.device_health_components",
    "gold.device_health",
    "gold.customer_summary",
)


def content(settings: Settings, tenant: Tenant, contender: str) -> tuple[int, ...]:
    """Count and checksum of the telemetry rows that a contender wrote."""
    if contender == "ours":
        table = iceberg_catalog(settings.lake, settings.database).load_table(table_name(tenant, "telemetry"))
        rows: Any = table.scan(selected_fields=("device_id", "ts", "metric", "value")).to_arrow_batch_reader()
    else:
        folder = output(tenant, contender, "telemetry")
        rows = ds.dataset(folder, filesystem=lake_filesystem(settings.lake), partitioning="hive")
    with duckdb.connect() as database:
        database.register("rows", rows)
        return tuple(int(value) for value in database.sql(CONTENT).fetchall()[0])


def forget(settings: Settings, tenant: Tenant) -> None:
    """Drop what our loads and the gold of all wrote, so that the next starts from nothing."""
    catalog = iceberg_catalog(settings.lake, settings.database)
    for table in TABLES:
        if catalog.table_exists(table_name(tenant, table)):
            catalog.drop_table(table_name(tenant, table))
    for owner in owners(tenant):
        with tenant_transaction(engine(settings.database), owner) as connection:
            for name in LEDGER:
                connection.execute(text(f"DELETE FROM {name}"))


def owners(tenant: Tenant) -> set[Tenant]:
    """Whose gold the contenders write."""
    return {gold_tenant(tenant, contender) for contender in CONTENDERS["gold"]}


@contextmanager
def one_cpu(settings: Settings) -> Iterator[None]:
    """Ray and its drivers on the first core only; the servers stay where they are."""
    ray = process.owned(RayNode(settings).logs())
    pids = {os.getpid(), *(each.pid for each in ray)}
    pids |= {child.pid for each in ray for child in each.children(recursive=True)}
    cores = os.sched_getaffinity(0)
    _pin(pids, {min(cores)})
    yield
    _pin(pids, cores)


def _pin(pids: set[int], cores: set[int]) -> None:
    for pid in pids:
        with suppress(FileNotFoundError):  # the process is gone
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):  # the thread is
                    os.sched_setaffinity(int(task.name), cores)


def table(costs: dict[str, list[Cost]], readings: int) -> Table:
    """Medians of the rounds, side by side."""
    shown = Table(
        "what", "wall s", "of the better peer", "CPU s", "peak GB", "readings/s",
        title=f"{readings:,} readings of bronze, medians",
    )  # fmt: skip
    medians = {name: _median(found) for name, found in costs.items()}
    for name, cost in medians.items():
        stage = name.partition(" ")[0]
        peers = [medians[f"{stage} {peer}"].wall_s for peer in ("polars", "duckdb")]
        shown.add_row(
            name, f"{cost.wall_s:.1f}", f"{cost.wall_s / min(peers):.2f}", f"{cost.cpu_s:.1f}",
            f"{cost.peak_bytes / 1e9:.2f}", f"{readings / cost.wall_s:,.0f}",
        )  # fmt: skip
    return shown


def _median(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.wall_s)[len(costs) // 2]


def scaling(settings: Settings, console: Console, readings: int, whole_s: float) -> dict[str, float]:
    """How the time grows with the input and shrinks with the cores."""
    generate(settings, PART, readings // SHARE)
    found = {"part_s": measure(settings, "ours", "silver", PART.id, with_ray=True).wall_s}
    forget(settings, PART)
    with one_cpu(settings):
        found["part_one_cpu_s"] = measure(settings, "ours", "silver", PART.id, with_ray=True).wall_s
    found["growth"] = whole_s / found["part_s"]
    found["speedup"] = found["part_one_cpu_s"] / found["part_s"]
    # Amdahl: with a parallel share p, two cores take 1 - p / 2 of the time of one.
    found["parallel_share"] = 2 * (1 - 1 / found["speedup"])
    console.print(
        f"{SHARE} times the input takes {found['growth']:.2f} times as long; two cores are "
        f"{found['speedup']:.2f} times as fast as one: {found['parallel_share']:.0%} of the work is parallel"
    )
    return found


def write(file: Path | None, readings: int, costs: dict[str, list[Cost]], **more: Any) -> None:
    """The figures so far: a long run that breaks off has not been for nothing."""
    if file is not None:
        rounds = {name: [asdict(cost) for cost in each] for name, each in costs.items()}
        file.write_text(json.dumps({"readings": readings, "costs": rounds, **more}, indent=2) + "\n")


def main() -> None:
    """Bring up a stack, generate, measure, compare, print, write."""
    from tests.embedded import embedded_stack

    parser = argparse.ArgumentParser(prog="python -m benchmarks.lake")
    parser.add_argument("--readings", type=int, default=5_000_000, help="readings of four metrics each")
    parser.add_argument("--large", action="store_true", help="50 million readings, one round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of every measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    readings, rounds = (50_000_000, 1) if options.large else (options.readings, options.rounds)
    # As many as the peers have: on a small machine the node claims more, since what serves waits mostly.
    os.environ["IOTOPS_STACK__RAY_CPUS"] = str(len(os.sched_getaffinity(0)))
    console = Console()
    costs: dict[str, list[Cost]] = {}
    with (
        tempfile.TemporaryDirectory() as home,
        console.status("stack") as status,
        embedded_stack(Path(home)) as settings,
    ):
        for tenant in (*owners(WHOLE), PART):
            create_tenant(settings, tenant)
        size = generate(settings, WHOLE, readings, lambda made: status.update(f"{made:,} readings of bronze"))
        console.log(f"{readings:,} readings, {size / 1e6:,.0f} MB compressed")
        for number in range(rounds):
            forget(settings, WHOLE)
            for stage, contenders in CONTENDERS.items():
                for name in contenders:
                    status.update(f"round {number + 1} of {rounds}: {stage} {name}")
                    cost = measure(settings, name, stage, WHOLE.id, with_ray=name == "ours")
                    costs.setdefault(f"{stage} {name}", []).append(cost)
                    console.log(f"{stage} {name}: {cost.wall_s:.1f} s, {cost.peak_bytes / 1e9:.2f} GB")
                    write(options.json, readings, costs)
        found = {name: content(settings, WHOLE, name) for name in ("ours", "polars", "duckdb")}
        console.print(table(costs, readings))
        console.print(f"rows and checksum: {found}")
        whole_s = statistics.median(cost.wall_s for cost in costs["silver ours"])
        grown = scaling(settings, console, readings, whole_s)
    write(options.json, readings, costs, content=found, scaling=grown)
    if len(set(found.values())) > 1:
        raise SystemExit("the contenders did not write the same rows")


if __name__ == "__main__":
    main()
