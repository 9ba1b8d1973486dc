"""The fleet report of a tenant: one HTML page and its tables as CSV.

    ray job submit -- python -m pipelines.jobs.fleet_report --tenant acme --from 2026-11-10 --to 2026-11-23 \
        --output lake://acme/reports/november
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer

from iotops.commands.tenant import TenantOption
from iotops.errors import IotOpsError
from iotops.provisioning import known_tenant
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant
from pipelines.jobs.arguments import Check, Output, main, say
from pipelines.jobs.fleet_sections import SECTIONS, Period, data_version, days_in_gold
from pipelines.jobs.parts import Parts
from pipelines.jobs.places import Place, output_place

PARTS, PAGE = "_parts", "report.html"
LISTED = 10


@dataclass(frozen=True)
class FleetReport:
    """What is to be reported, checked."""

    settings: Settings
    tenant: Tenant
    period: Period
    output: Place
    days: int

    def __str__(self) -> str:
        return (
            f"fleet report of {self.tenant.id} over the {self.days} days with scores from "
            f"{self.period.first} to {self.period.last}, to {self.output}"
        )


def fleet_report(
    tenant: TenantOption,
    first: Annotated[str, typer.Option("--from", help="First day (UTC), e.g. 2026-11-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day (UTC), included.")],
    output: Output,
    check: Check = False,
) -> None:
    """Report a fleet's health over some days: an HTML page with plots, and its tables as CSV.

    A run after a kill takes what the killed one had computed, unless the data has changed since.

    Example: iotops job submit fleet-report --tenant acme --from 2026-11-10 --to 2026-11-23
    --output lake://acme/reports/november
    """
    settings = get_settings()
    planned = plan(settings, known_tenant(settings, tenant), first, last, output)
    say(str(planned))
    if not check:
        run(planned)


def plan(settings: Settings, tenant: Tenant, first: str, last: str, output: str) -> FleetReport:
    """Check the arguments; raises `IotOpsError` for the first that is wrong."""
    period = Period(_day("--from", first), _day("--to", last))
    if period.last < period.first:
        raise IotOpsError(f"--to {last} lies before --from {first}")
    days = days_in_gold(settings, tenant, period)
    if not days:
        raise IotOpsError(
            f"gold has no scores of {tenant.id} from {first} to {last}: `iotops flow run silver-to-gold "
            f"--tenant {tenant.id}` computes them"
        )
    return FleetReport(settings, tenant, period, output_place(settings.lake, tenant, output), days)


def run(report: FleetReport) -> None:
    """Compute the sections that are not there yet, then write the page and the CSV files."""
    import pyarrow.csv

    version = data_version(report.settings, report.tenant)
    arguments = {
        "job": "fleet-report",
        "tenant": report.tenant.id,
        "from": str(report.period.first),
        "to": str(report.period.last),
        "data": version,
    }
    parts = Parts(report.output.below(PARTS))
    parts.restart_unless(arguments)
    left = parts.left(list(SECTIONS))
    if len(left) < len(SECTIONS):
        say(f"{len(SECTIONS) - len(left)} of {len(SECTIONS)} sections are there from an earlier run")
    for number, name in enumerate(left, start=len(SECTIONS) - len(left) + 1):
        started = time.monotonic()
        rows = SECTIONS[name](report.settings, report.tenant, report.period)
        parts.write(name, rows)
        say(
            f"section {number} of {len(SECTIONS)}: {name}, {rows.num_rows:,} rows "
            f"in {time.monotonic() - started:.2f} s"
        )
    tables = {name: parts.read(name) for name in SECTIONS}
    for name, table in tables.items():
        content = io.BytesIO()
        pyarrow.csv.write_csv(table, content)
        report.output.below(f"{name}.csv").write(content.getvalue())
    page = render(report, tables)
    report.output.below(PAGE).write(page.encode())
    parts.folder.remove()
    say(f"{report.output}/{PAGE} ({len(page) / 1024:.0f} KiB) and {len(tables)} CSV files")


def render(report: FleetReport, tables: dict[str, Any]) -> str:
    """The page: self-contained, its charts inline, every value escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from pipelines.jobs import charts
    from pipelines.lake.health import UNHEALTHY_BELOW

    environment = Environment(
        loader=PackageLoader("pipelines.jobs"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    rows = {name: table.to_pylist() for name, table in tables.items()}
    trend, components = rows["trend"], rows["components"]
    drawn = {
        "histogram": charts.score_histogram([row["score"] for row in rows["devices"]], UNHEALTHY_BELOW),
        "trend": charts.score_trend(
            [row["day"] for row in trend],
            [row["mean_score"] for row in trend],
            [row["unhealthy_devices"] for row in trend],
        ),
        "components": charts.component_bars(
            [row["component"] for row in components], [row["mean_penalty"] for row in components]
        ),
    }
    return environment.get_template("fleet_report.html").render(
        tenant=report.tenant.id,
        period=report.period,
        made=datetime.now(UTC),
        unhealthy_below=UNHEALTHY_BELOW,
        listed=LISTED,
        charts={name: Markup(drawing) for name, drawing in drawn.items()},
        **rows,
    )


def _day(option: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise IotOpsError(f"{option} {value!r} is not a day: write it as 2026-11-23") from None


if __name__ == "__main__":
    main(fleet_report)
