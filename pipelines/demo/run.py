"""`iotops demo`: from nothing to a fleet, its health and three answered questions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from sqlalchemy import text

from iotops.auth import issue_token
from iotops.commands.copilot import post_question, print_answer
from iotops.database import engine, tenant_transaction
from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.models import prepare
from iotops.provisioning import create_tenant, list_tenants
from iotops.ray_cluster import connect
from iotops.serving import GATEWAY, deploy, wait_until_running
from iotops.settings import Settings, get_settings
from iotops.stack.embedded import up
from iotops.tenancy import Tenant
from pipelines.demo.fleet import generate
from pipelines.demo.steps import Steps
from pipelines.flow_commands import run_flow
from pipelines.ingest import members
from pipelines.ingest.replay import replay
from pipelines.knowledge.store import add_documents

TENANT = Tenant("demo")
DOCUMENTS = Path(__file__).with_name("documents")
MACHINES, DAYS, SEED = 50, 14, 7
STALLED_S = 180
FLOWS = {
    "doc-ingestion": "Documents to index",
    "bronze-to-silver": "Bronze to silver (Iceberg)",
    "silver-to-gold": "Silver to gold (health)",
}
IN_SILVER = text("""
    SELECT count(*) AS hours, sum(readings) AS readings, sum(events) AS events,
        sum(quarantined) AS refused FROM ingest.lake_hours""")
COUNT = text("SELECT (SELECT count(*) FROM silver.telemetry), (SELECT count(*) FROM silver.events)")


def run(console: Console, steps: Steps) -> None:
    """Bring everything up, load the fleet, ask, and leave the platform running.

    Every step finds out what is there already and does only the rest.
    """
    with ThreadPoolExecutor(1) as beside, steps.step("Models and embedded stack") as step:
        starting = beside.submit(up, get_settings(), step.progress)
        resolved = prepare(get_settings(), on_progress=step.progress)
        settings = starting.result()
        step.result = ", ".join(model.name.rpartition("/")[2] for model in resolved)
    with steps.step("Tenant") as step:
        if TENANT not in list_tenants(settings):
            create_tenant(settings, TENANT)
        step.result = TENANT.id
    applications = deploy(settings)  # the language model loads while the data flows
    with steps.step("Sinks and gateway") as step:
        connect(settings.ray)
        members.start(settings, {"bronze": 1, "silver": 1, "alerts": 1, "mqtt": 1})
        wait_until_running(settings, GATEWAY, step.progress)
    with steps.step("Fleet through the gateway") as step:
        step.result = _load_fleet(settings, step.progress)
    add_documents(lake_filesystem(settings.lake), TENANT.id, [DOCUMENTS])
    for name, title in FLOWS.items():
        with steps.step(title) as step:
            step.result = str(run_flow(name, TENANT.id, step.progress))
            if name == "bronze-to-silver":  # a new hour of bronze may have started it before us
                step.result = _in_silver(settings)
    with steps.step("Copilot") as step:
        wait_until_running(settings, applications, step.progress)
    worst = _worst(settings)
    for question in _questions(worst[0]["device_id"]):
        console.print(Rule(f"[bold]{question}", align="left"))
        print_answer(post_question(settings, TENANT, question))
    _print_fleet(console, worst)
    _print_urls(console, settings)


def _questions(machine: str) -> list[str]:
    return [
        "What does E421 mean on an HX-200 and what should I do first?",
        f"What is wrong with {machine} and what should I do?",
        "How long is the warranty of the CR-310?",
    ]


def _load_fleet(settings: Settings, show: Callable[[str], None]) -> str:
    """Generate and replay the fleet unless Postgres has it; returns when both sinks have stored all."""
    folder = settings.home / "demo-fleet"
    if not (folder / "PdM_telemetry.csv").is_file():
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        generate(folder, machines=MACHINES, days=DAYS, seed=SEED, end=midnight - timedelta(hours=1))
    stored = _stored(settings)
    if stored == (0, 0):
        report = asyncio.run(
            replay(settings, TENANT, folder, on_progress=lambda done, total: show(f"{done:,} of {total:,}"))
        )
        sent = (report.readings, report.events)
    else:
        sent = stored
    last, moved = stored, time.monotonic()
    while (stored := _stored(settings)) < sent or any(
        member.lag + member.waiting for member in members.status().values()
    ):
        if stored != last:
            last, moved = stored, time.monotonic()
        elif time.monotonic() - moved > STALLED_S:
            raise IotOpsError(
                f"the sinks stored {stored} of {sent}, nothing for {STALLED_S} s: see `iotops ingest status`"
            )
        show(f"{stored[0]:,} of {sent[0]:,} readings stored")
        time.sleep(0.5)
    return f"{stored[0]:,} readings and {stored[1]:,} events of {MACHINES} machines, {DAYS} days"


def _stored(settings: Settings) -> tuple[int, int]:
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        row = connection.execute(COUNT).one()
        return row[0], row[1]


def _in_silver(settings: Settings) -> str:
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        held = connection.execute(IN_SILVER).one()
    return (
        f"{held.readings:,} readings and {held.events:,} events of {held.hours} arrival hours, "
        f"{held.refused:,} refused"
    )


def _worst(settings: Settings) -> list[dict[str, Any]]:
    token = issue_token(settings.auth, TENANT, "demo", "operator", ttl_s=300)
    response = httpx.get(
        f"{settings.serve.url}/insights", headers={"Authorization": f"Bearer {token}"}, timeout=60
    )
    response.raise_for_status()
    devices: list[dict[str, Any]] = response.json()["devices"]
    return devices


def _print_fleet(console: Console, worst: list[dict[str, Any]]) -> None:
    table = Table("machine", "model", "health", "why", title=f"The five worst machines on {worst[0]['day']}")
    for row in worst:
        table.add_row(row["device_id"], row["model"], f"{row['score']:.0f}", row["detail"])
    console.print(table)


def _print_urls(console: Console, settings: Settings) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("Console", f"{settings.serve.url}/")
    table.add_row("Copilot API", f"{settings.serve.url}/docs")
    table.add_row("Gateway API", f"{settings.serve.url}/v1/telemetry/docs")
    table.add_row("Ray dashboard", settings.ray.dashboard_url)
    table.add_row("Prefect", settings.prefect.api_url.removesuffix("/api"))
    table.add_row("Token", f".venv/bin/iotops token issue --tenant {TENANT.id} --subject you")
    console.print(table)
