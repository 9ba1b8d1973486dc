"""`iotops audit`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from iotops.commands.console import print_columns, print_json
from iotops.commands.tenant import Json, TenantOption
from iotops.settings import get_settings

SHOWN = ("subject", "role", "action", "object", "outcome", "request_id")


def audit(
    tenant: TenantOption,
    since: Annotated[
        datetime | None, typer.Option(help="From this moment on (UTC); without it the last 24 hours.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who called the copilot for a tenant, what for, and with which outcome; the oldest first.

    Example: iotops audit --tenant acme --since 2026-11-01 --json
    """
    from iotops.audit import entries
    from iotops.provisioning import known_tenant

    settings = get_settings()
    first = since.replace(tzinfo=UTC) if since else datetime.now(UTC) - timedelta(days=1)
    found = entries(settings.database, known_tenant(settings, tenant), first)
    if as_json:
        print_json(found)
        return
    rows = [("at (UTC)", "status", "latency (ms)", "cost", *(name.replace("_", " ") for name in SHOWN))]
    for row in found:
        figures = (str(row["status"]), f"{row['latency_ms']:.0f}", f"{row['cost']:.6g}")
        at = f"{row['at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        rows.append((at, *figures, *(row[name] for name in SHOWN)))
    print_columns(*rows)
