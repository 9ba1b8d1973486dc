"""`python -m benchmarks.ingest`: how fast readings come in, side by side in one run.

Everything runs on an embedded stack of its own: the bare Kafka clients (the ceiling), the sinks over each,
the gateways, and Quix Streams doing the same bronze and silver work. Rates are medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.ingest import peer, together
from benchmarks.ingest.consumers import BARE, CLIENTS, fill, interface_rate, sink_rate
from benchmarks.ingest.gateways import http_rate, mqtt_broker_rate, mqtt_rate, producer_rate
from iotops.provisioning import create_tenant
from iotops.ray_cluster import connect
from iotops.serving import GATEWAY, deploy, wait_until_running
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest import members

TENANT, SENDING = Tenant("bench"), Tenant("bench_sending")
FAST = CLIENTS[-1]
PRODUCER, BROKER = "raw Kafka producer", "raw MQTT broker"
SINKS = ("bronze", "silver", "alerts")


def measurements(settings: Settings, records: int, peer_folder: Path) -> dict[str, Callable[[], float]]:
    """What is measured, by stable key, in the order of the table."""
    found: dict[str, Callable[[], float]] = {}
    for client in CLIENTS:
        found[f"raw {client}"] = partial(BARE[client], settings.kafka, TENANT.telemetry_topic, records)
        found[f"interface {client}"] = partial(interface_rate, settings, client, TENANT, records)
    for sink in SINKS:
        for client in CLIENTS:
            found[f"{sink} {client}"] = partial(sink_rate, settings, sink, client, TENANT, records)
    for task in ("bronze", "silver"):
        found[f"{task} quixstreams"] = partial(_peer, settings, task, records, peer_folder)
    found[PRODUCER] = partial(producer_rate, settings, SENDING)
    found["HTTP gateway"] = partial(http_rate, settings, SENDING)
    found[BROKER] = partial(mqtt_broker_rate, settings, SENDING)
    found["MQTT gateway"] = partial(mqtt_rate, settings, SENDING)
    return found


def _peer(settings: Settings, task: str, records: int, folder: Path) -> float:
    database, lake = settings.database, settings.lake
    postgres: dict[str, Any] = {
        "host": database.host,
        "port": database.port,
        "dbname": database.name,
        "user": "postgres",
        "password": settings.stack.postgres_password.get_secret_value(),
    }
    with psycopg.connect(**postgres, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS peer CASCADE")
    return peer.rate(
        task,
        folder,
        kafka=settings.kafka.bootstrap_servers,
        topic=TENANT.telemetry_topic,
        records=records,
        bucket=lake.bucket,
        endpoint=lake.endpoint,
        access_key=lake.access_key,
        secret_key=lake.secret_key.get_secret_value(),
        postgres=postgres,
    )


def ceiling(name: str, rates: dict[str, float]) -> float:
    """What bounds a measurement from above: the bare client that it reads or writes with."""
    if "gateway" in name:
        return rates[PRODUCER if name.startswith("HTTP") else BROKER]
    client = next((client for client in CLIENTS if name.endswith(client)), FAST)
    return rates[f"raw {client}"]


def table(rates: dict[str, float]) -> Table:
    """Rates, and the fraction of the ceiling."""
    shown = Table("what", "readings/s", "of the ceiling", title="Ingestion, one process each")
    for name, rate in rates.items():
        raw = name.startswith("raw ")
        shown.add_row(name, f"{rate:,.0f}", "" if raw else f"{rate / ceiling(name, rates):.0%}")
    return shown


def lag_table(lags: dict[str, float]) -> Table:
    """How far each group is behind at a steady rate."""
    title = f"All groups together, {lags['accepted']:,.0f} readings/s accepted"
    shown = Table("messages in Kafka that are not", "median", "most", title=title)
    for group in together.GROUPS:
        for what, words in (("unread", "read"), ("unstored", "stored")):
            values = (f"{lags[f'{group} {what} {which}']:,.0f}" for which in ("median", "most"))
            shown.add_row(f"{words} by {group}", *values)
    return shown


def main() -> None:
    """Bring up a stack, measure, print, write."""
    from tests.embedded import embedded_stack

    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest")
    parser.add_argument("--records", type=int, default=200_000, help="readings in the topic")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of every measurement")
    profiled = [f"{sink} {client}" for sink in SINKS for client in CLIENTS]
    parser.add_argument("--profile", choices=profiled, help="instead: what a sink spends its time on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    console = Console()
    os.environ["IOTOPS_INGEST__TENANT_RECORDS_PER_S"] = "1000000"  # a quota is not what is measured
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as peer_folder,
        console.status("stack") as status,
        embedded_stack(Path(home)) as settings,
    ):
        for tenant in (TENANT, SENDING):
            create_tenant(settings, tenant)
        if options.profile:
            fill(settings, TENANT, options.records)
            _profile(settings, options.profile, options.records)
            return
        connect(settings.ray)
        wait_until_running(settings, deploy(settings, GATEWAY), status.update)
        status.update(f"all groups at {together.RATE:,.0f} readings/s")
        lags = together.lags(settings, SENDING)
        console.print(lag_table(lags))
        status.update(f"{options.records:,} readings into the topic")
        fill(settings, TENANT, options.records)
        rates: dict[str, list[float]] = {}
        wanted = measurements(settings, options.records, Path(peer_folder))
        for number in range(options.rounds):
            for name, measure in wanted.items():
                status.update(f"round {number + 1} of {options.rounds}: {name}")
                with _gateway(settings, name == "MQTT gateway"):
                    rates.setdefault(name, []).append(measure())
                console.log(f"{name}: {rates[name][-1]:,.0f} readings/s")
    medians = {name: statistics.median(found) for name, found in rates.items()}
    console.print(table(medians))
    if options.json:
        options.json.write_text(
            json.dumps({"rates": medians, "rounds": rates, "lags": lags}, indent=2) + "\n"
        )


@contextmanager
def _gateway(settings: Settings, wanted: bool) -> Iterator[None]:
    """The MQTT gateway, only while it is measured: it would share the machine with the other measurements."""
    if wanted:
        members.start(settings, {"mqtt": 1})
    yield
    if wanted:
        members.stop()


def _profile(settings: Settings, name: str, records: int) -> None:
    sink, client = name.split()
    profile = cProfile.Profile()
    rate = profile.runcall(sink_rate, settings, sink, client, TENANT, records)
    print(f"{name}: {rate:,.0f} readings/s under the profiler, of the thread that reads")
    pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
