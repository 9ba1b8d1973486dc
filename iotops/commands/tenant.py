"""`iotops tenant` and `iotops token`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from iotops.auth import ROLES, Role, issue_token
from iotops.commands.console import print_columns, print_json
from iotops.settings import get_settings
from iotops.tenancy import Tenant

if TYPE_CHECKING:
    from iotops.provisioning import TenantCredentials

TenantId = Annotated[str, typer.Argument(help="Tenant id, e.g. acme.")]
TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="Tenant id, e.g. acme.")]
Tier = Annotated[str | None, typer.Option(help="Tier of configs/tiers.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tenants = typer.Typer(help="Create and list tenants.", no_args_is_help=True)
    tenants.command("create")(create)
    tenants.command("credentials")(credentials)
    tenants.command("policy")(policy)
    tenants.command("list")(list_all)
    app.add_typer(tenants, name="tenant")
    tokens = typer.Typer(help="Issue bearer tokens and MQTT passwords.", no_args_is_help=True)
    tokens.command("issue")(issue)
    tokens.command("mqtt")(mqtt)
    app.add_typer(tokens, name="token")


def create(tenant: TenantId, tier: Tier = None, as_json: Json = False) -> None:
    """Create a tenant and print its credentials, once.

    Example: iotops tenant create acme --tier free
    """
    from iotops.provisioning import create_tenant

    _show(tenant, create_tenant(get_settings(), Tenant(tenant), tier), as_json)


def credentials(tenant: TenantId, as_json: Json = False) -> None:
    """Give a tenant a new password and storage key, and print them, once; the old ones stop working.

    Example: iotops tenant credentials acme --json
    """
    from iotops.provisioning import renew_credentials

    _show(tenant, renew_credentials(get_settings(), Tenant(tenant)), as_json)


def policy(
    tenant: TenantId,
    tier: Tier = None,
    keep_questions: Annotated[
        bool | None, typer.Option(help="Whether the audit keeps the text of questions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a tenant's policy, changed first where an option says so; replicas know it after 30 s.

    Example: iotops tenant policy acme --tier enterprise --no-keep-questions
    """
    from iotops.tiers import change_policy, tenant_policy

    settings, whose = get_settings(), Tenant(tenant)
    if tier is None and keep_questions is None:
        found = tenant_policy(settings, whose)
    else:
        found = change_policy(settings, whose, tier, keep_questions)
    if as_json:
        print_json({"tenant_id": tenant, **asdict(found)})
    else:
        kept = "kept in the audit" if found.keep_questions else "not kept"
        print(f"{tenant}: tier {found.tier}, the text of questions is {kept}")


def _show(tenant: str, credentials: TenantCredentials, as_json: bool) -> None:
    shown = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in asdict(credentials).items()
    }
    if as_json:
        print_json({"tenant_id": tenant, **shown})
        return
    print(f"Tenant {tenant}: credentials, shown once")
    print_columns(*((name.replace("_", " "), value) for name, value in shown.items()))


def list_all(as_json: Json = False) -> None:
    """List tenants.

    Example: iotops tenant list --json
    """
    from iotops.provisioning import list_tenants

    tenants = [tenant.id for tenant in list_tenants(get_settings())]
    if as_json:
        print_json(tenants)
    else:
        print("\n".join(tenants) or "no tenants yet: `iotops tenant create acme` makes one")


def issue(
    tenant: TenantOption,
    subject: Annotated[str, typer.Option("--subject", "-s", help="User name, or the device's id.")],
    role: Annotated[str, typer.Option(help=f"One of: {', '.join(ROLES)}.")] = "operator",
    ttl: Annotated[int | None, typer.Option(help="Lifetime in seconds.", min=1)] = None,
) -> None:
    """Print a signed bearer token.

    Example: iotops token issue --tenant acme --subject alice
    """
    if role not in ROLES:
        raise typer.BadParameter(f"role {role!r} is unknown; roles are: {', '.join(ROLES)}")
    from iotops.provisioning import known_tenant

    known: Role = role
    settings = get_settings()
    print(issue_token(settings.auth, known_tenant(settings, tenant), subject, known, ttl))


def mqtt(
    tenant: TenantOption,
    devices: Annotated[list[str], typer.Argument(help="Device ids.")],
    as_json: Json = False,
) -> None:
    """Give devices MQTT user names and new passwords, which reach their own topics only.

    Example: iotops token mqtt --tenant acme pump-1 pump-2
    """
    from iotops.provisioning import known_tenant
    from iotops.stack.mqtt import grant_devices

    settings = get_settings()
    granted = grant_devices(settings, known_tenant(settings, tenant), devices)
    rows = [
        {"device_id": device, "user": user, "password": password.get_secret_value()}
        for device, (user, password) in granted.items()
    ]
    if as_json:
        print_json(rows)
        return
    print("MQTT accounts, shown once")
    print_columns(("device", "user", "password"), *(tuple(row.values()) for row in rows))
