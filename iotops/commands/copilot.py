"""`iotops serve`, `iotops ask` and `iotops audit`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
    conversation: Annotated[
        str | None, typer.Option(help="Conversation to refer back to: a name of your choice.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the copilot and print the answer with its sources; on a terminal as it comes about.

    Example: iotops ask "What does E421 mean on an HX-200?" --tenant acme --conversation pump
    """
    from iotops.provisioning import known_tenant

    settings = get_settings()
    asking = known_tenant(settings, tenant)
    if results.is_terminal and not as_json:
        print_sources(print_told(stream_question(settings, asking, question, device, conversation)))
        return
    with errors.status("asking"):
        answer = post_question(settings, asking, question, device, conversation)
    if as_json:
        print_json(answer)
    else:
        print_answer(answer)


def post_question(
    settings: Settings,
    tenant: Tenant,
    question: str,
    device: str | None = None,
    conversation: str | None = None,
) -> dict[str, Any]:
    """`POST /ask` as an operator of the tenant; raises `IotOpsError` with the API's own message."""
    with _asked(settings, tenant, question, device, conversation, "application/json") as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def stream_question(
    settings: Settings, tenant: Tenant, question: str, device: str | None, conversation: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of `POST /ask`, each with its name, as they come; raises `IotOpsError` as the API says."""
    with _asked(settings, tenant, question, device, conversation, "text/event-stream") as response:
        yield from events(response.iter_lines())


@contextmanager
def _asked(
    settings: Settings,
    tenant: Tenant,
    question: str,
    device: str | None,
    conversation: str | None,
    accept: str,
) -> Iterator[httpx.Response]:
    token = issue_token(settings.auth, tenant, "operator", "operator", ttl_s=300)
    optional = {"device_id": device, "conversation_id": conversation}
    body = {"question": question} | {name: value for name, value in optional.items() if value}
    headers = {"Authorization": f"Bearer {token}", "Accept": accept}
    try:
        with httpx.stream(
            "POST", f"{settings.serve.url}/ask", json=body, headers=headers, timeout=120
        ) as response:
            if response.status_code != 200:
                answered = response.read().decode(errors="replace")
                raise IotOpsError(f"the copilot answered {response.status_code}: {answered[:500]}")
            yield response
    except httpx.TransportError as error:
        raise IotOpsError(
            f"the copilot at {settings.serve.url} does not answer ({error}): `iotops serve` starts it"
        ) from None


def events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events, each with its name and its data of JSON; raises `IotOpsError` for an error."""
    name, data = "", ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif not line and data:
            told = json.loads(data)
            if name == "error":
                raise IotOpsError(f"the answer broke off: {told['error']['message']}")
            yield name, told
            name, data = "", ""


def print_told(told: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Print an answer piece by piece, before it what is done for it; the whole answer."""
    answer: dict[str, Any] = {}
    begun = False
    for name, event in told:
        if name == "trace" and not begun:
            took = f" ({event['duration_ms']:.0f} ms)" if event["duration_ms"] is not None else ""
            errors.print(f"[dim]{escape(event['message'])}{took}[/]", highlight=False)
        elif name == "token":
            begun = True
            results.out(event["text"], end="", highlight=False)
        elif name == "done":
            answer = event
    results.print()
    if not answer:
        raise IotOpsError("the answer broke off before its end: ask again")
    return answer


def print_answer(answer: dict[str, Any]) -> None:
    """Print an answer and its sources."""
    results.print(escape(answer["answer"]), highlight=False)
    print_sources(answer)


def print_sources(answer: dict[str, Any]) -> None:
    """Print the sources of an answer, each with the place in its document."""
    if answer["citations"]:
        quoted = ", whose own words this answer has" if answer["extractive"] else ""
        results.print(f"[bold]Sources[/]{quoted}" if answer["grounded"] else "[bold]Nearest sources[/]")
    for citation in answer["citations"]:
        place = " > ".join(part for part in (citation["title"], citation["section"]) if part)
        quote = " ".join(citation["quote"].split())
        results.print(
            f"  [cyan]{escape(citation['marker'])}[/] {escape(place)}, "
            f"characters {citation['start']}-{citation['end']}\n      [dim]{escape(quote)}[/]",
            highlight=False,
        )
