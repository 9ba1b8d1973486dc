"""`iotops serve`, `iotops ask` and `iotops audit`."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer
from rich.markup import escape

from iotops.auth import issue_token
from iotops.commands.audit import audit
from iotops.commands.console import errors, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.errors import IotOpsError
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.command("ask")(ask)
    app.command("audit")(audit)


def serve() -> None:
    """Deploy the gateway and the copilot as `configs/serve.yaml` says, and wait until they run.

    Example: iotops serve
    """
    from iotops.serving import deploy, wait_until_running

    settings = get_settings()
    with errors.status("deploying") as status:
        wait_until_running(settings, deploy(settings), on_progress=status.update)
    results.print(f"serving at {settings.serve.url} (API: {settings.serve.url}/docs)")


def ask(
    question: Annotated[str, typer.Argument(help="The question, in plain words.")],
    tenant: TenantOption,
    device: Annotated[str | None, typer.Option(help="Device in question.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the copilot and print the answer with its sources.

    Example: iotops ask "What does E421 mean on an HX-200?" --tenant acme
    """
    with errors.status("asking"):
        answer = post_question(get_settings(), Tenant(tenant), question, device)
    if as_json:
        print_json(answer)
    else:
        print_answer(answer)


def post_question(
    settings: Settings, tenant: Tenant, question: str, device: str | None = None
) -> dict[str, Any]:
    """`POST /ask` as an operator of the tenant; raises `IotOpsError` with the API's own message."""
    token = issue_token(settings.auth, tenant, "operator", "operator", ttl_s=300)
    body = {"question": question} | ({"device_id": device} if device else {})
    try:
        response = httpx.post(
            f"{settings.serve.url}/ask", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=120
        )
    except httpx.TransportError as error:
        raise IotOpsError(f"the copilot at {settings.serve.url} does not answer: {error}") from None
    if response.status_code != 200:
        raise IotOpsError(f"the copilot answered {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer


def print_answer(answer: dict[str, Any]) -> None:
    """Print an answer and its sources, each with the place in its document."""
    results.print(escape(answer["answer"]), highlight=False)
    if answer["citations"]:
        results.print("[bold]Sources[/]" if answer["grounded"] else "[bold]Nearest sources[/]")
    for citation in answer["citations"]:
        place = " > ".join(part for part in (citation["title"], citation["section"]) if part)
        quote = " ".join(citation["quote"].split())
        results.print(
            f"  [cyan]{escape(citation['marker'])}[/] {escape(place)}, "
            f"characters {citation['start']}-{citation['end']}\n      [dim]{escape(quote)}[/]",
            highlight=False,
        )
