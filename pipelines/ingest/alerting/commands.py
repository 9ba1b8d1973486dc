"""`iotops alert`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import text

from iotops.commands.console import cell, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.settings import get_settings

ALERTS = text("""
    SELECT alert_id::text, device_id, rule, kind, metric, severity, opened_at, resolved_at, resolved_because,
        evidence
    FROM silver.alerts
    WHERE (resolved_at IS NULL OR :all) AND (device_id = :device OR CAST(:device AS text) IS NULL)
    ORDER BY opened_at DESC LIMIT :limit""")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = typer.Typer(help="Read alerts and the rules that raise them.", no_args_is_help=True)
    commands.command("list")(list_alerts)
    commands.command("rules")(rules)
    app.add_typer(commands, name="alert")


def list_alerts(
    tenant: TenantOption,
    device: Annotated[str | None, typer.Option(help="Only this device's.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Resolved ones too.")] = False,
    limit: Annotated[int, typer.Option(help="How many to show, the newest first.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Show alerts, the newest first.

    Example: iotops alert list --tenant acme
    """
    from iotops.database import engine, tenant_transaction
    from iotops.provisioning import known_tenant

    settings = get_settings()
    with tenant_transaction(engine(settings.database), known_tenant(settings, tenant)) as connection:
        asked = {"all": resolved, "device": device, "limit": limit}
        found = [dict(row) for row in connection.execute(ALERTS, asked).mappings()]
    if as_json:
        print_json(found)
        return
    table = Table("opened", "device", "severity", "rule", "metric", "resolved", title=f"Alerts of {tenant}")
    for row in found:
        ended = f"{row['resolved_at']:%Y-%m-%d %H:%M}" if row["resolved_at"] else "open"
        opened = f"{row['opened_at']:%Y-%m-%d %H:%M:%S}"
        named = (row["device_id"], row["severity"], row["rule"], row["metric"] or "")
        table.add_row(opened, *map(cell, named), ended)
    results.print(table)


def rules(as_json: Json = False) -> None:
    """Check `configs/alerts.yaml` and show its rules.

    Example: iotops alert rules
    """
    from pipelines.ingest.alerting.rules import load_rules

    found = load_rules(get_settings().configs).rules
    if as_json:
        print_json([rule.model_dump(mode="json", by_alias=True) for rule in found])
        return
    table = Table("rule", "kind", "severity", "tenants", "models", title="Alert rules")
    for rule in found:
        row = (rule.name, rule.kind, rule.severity, _scope(rule.tenants), _scope(rule.models))
        table.add_row(*map(cell, row))
    results.print(table)


def _scope(names: frozenset[str] | None) -> str:
    return "all" if names is None else ", ".join(sorted(names))
