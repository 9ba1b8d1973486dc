"""`iotops simulate`."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from iotops.commands.console import errors, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.errors import IotOpsError
from iotops.settings import get_settings
from iotops.tenancy import Tenant
from pipelines.ingest.simulate import Fleet, Progress, over_http, over_mqtt

WAYS = {"http": over_http, "mqtt": over_mqtt}
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
LAG_EVERY_S = 2.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    tenant: TenantOption,
    devices: Annotated[int, typer.Option(help="Simulated devices.", min=1, max=1_000_000)] = 1000,
    rate: Annotated[str, typer.Option(help="Readings per second of all devices, e.g. 2000/s.")] = "200/s",
    duration: Annotated[str, typer.Option("--for", help="How long, e.g. 60s, 10m.")] = "60s",
    over: Annotated[str, typer.Option(help="http or mqtt.")] = "http",
    as_json: Json = False,
) -> None:
    """Send a simulated fleet's readings through the gateway, with a live view.

    Example: iotops simulate --tenant acme --devices 10000 --rate 2000/s --for 60s
    """
    if over not in WAYS:
        raise typer.BadParameter(f"{over!r} is unknown; devices send over: {', '.join(WAYS)}")
    from iotops.provisioning import known_tenant

    per_second, seconds = _rate(rate), _duration(duration)
    settings, fleet, view = get_settings(), Fleet(devices), _View()
    # Of an unknown tenant the HTTP gateway refuses what is sent; the MQTT gateway can only drop it.
    owner = known_tenant(settings, tenant) if over == "mqtt" else Tenant(tenant)
    with view:
        done = asyncio.run(
            WAYS[over](settings, owner, fleet, rate=per_second, seconds=seconds, on_progress=view.update)
        )
    summary = view.summary(done)
    if as_json:
        print_json(summary)
    else:
        results.print(_table("Simulated fleet", {name: f"{value:,}" for name, value in summary.items()}))
    if done.report.rejected:
        reasons = "; ".join(done.report.errors[:3])
        raise IotOpsError(f"{done.report.rejected} readings were rejected: {reasons}")


class _View:
    """The live table; the sinks' lag is asked for beside it, so that it never holds up the sending."""

    def __init__(self) -> None:
        self._live = Live(console=errors, refresh_per_second=4, transient=True)
        self._started = self._counted_at = time.monotonic()
        self._counted = 0
        self._rate = 0.0
        self._lags: dict[str, int] = {}
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _View:
        self._live.__enter__()
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._live.__exit__(None, None, None)
        self._watcher.join(LAG_EVERY_S * 5)

    def update(self, progress: Progress) -> None:
        """Show the numbers of now."""
        now = time.monotonic()
        if now - self._counted_at >= 1:
            self._rate = (progress.taken - self._counted) / (now - self._counted_at)
            self._counted, self._counted_at = progress.taken, now
        shown = {
            "elapsed": f"{now - self._started:.0f} s",
            "offered": f"{progress.offered:,}",
            "accepted": f"{progress.taken:,}",
            "accepted/s": f"{self._rate:,.0f}",
            "sent again": f"{progress.report.retries:,}",
            "rejected": f"{progress.report.rejected:,}",
            **{f"lag of {group}": f"{lag:,}" for group, lag in self._lags.items()},
        }
        self._live.update(_table("Simulated fleet", shown))

    def summary(self, done: Progress) -> dict[str, int | float]:
        """What it came to; `accepted_per_s` is over the whole time."""
        elapsed = time.monotonic() - self._started
        return {
            "offered": done.offered,
            "accepted": done.taken,
            "sent_again": done.report.retries,
            "rejected": done.report.rejected,
            "seconds": round(elapsed, 1),
            "accepted_per_s": round(done.taken / max(elapsed, 0.1)),
            **{f"lag_{group}": lag for group, lag in self._lags.items()},
        }

    def _watch(self) -> None:
        from iotops.ray_cluster import connect
        from pipelines.ingest import members

        with suppress(IotOpsError):  # a remote fleet may have no access to the cluster
            connect(get_settings().ray)
            while not self._ended.wait(LAG_EVERY_S):
                lags: dict[str, int] = {}
                for name, progress in members.status().items():
                    group = name.partition("-")[0]
                    lags[group] = lags.get(group, 0) + progress.lag
                self._lags = lags


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows.items():
        table.add_row(*row)
    return table


def _rate(text: str) -> float:
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text):
        return float(found[1])
    raise typer.BadParameter(f"rate {text!r} is refused: write readings per second, such as 2000/s")


def _duration(text: str) -> float:
    if found := re.fullmatch(r"(\d+)([smh])", text):
        return int(found[1]) * UNITS_S[found[2]]
    raise typer.BadParameter(f"--for {text!r} is refused: write a number with s, m or h, such as 60s")
