"""`iotops deadletter`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from iotops.commands.console import cell, errors, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.settings import get_settings

Code = Annotated[str | None, typer.Option(help="Only those refused for this reason, e.g. future_timestamp.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = typer.Typer(help="Read refused records, and send them again.", no_args_is_help=True)
    commands.command("list")(list_all)
    commands.command("replay")(replay)
    app.add_typer(commands, name="deadletter")


def list_all(
    tenant: TenantOption,
    code: Code = None,
    limit: Annotated[int, typer.Option(help="How many to show, the newest first.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Show refused records with their reasons, the newest first.

    Example: iotops deadletter list --tenant acme --code future_timestamp
    """
    from iotops.provisioning import known_tenant
    from pipelines.ingest.deadletter import read_letters

    settings = get_settings()
    letters = read_letters(settings, known_tenant(settings, tenant), code, newest_first=True)
    found = sorted(islice(letters, limit), key=lambda each: -each.letter.rejected_at)
    if as_json:
        print_json(
            [
                {"partition": each.partition, "offset": each.offset, **msgspec.to_builtins(each.letter)}
                for each in found
            ]
        )
        return
    table = Table("when", "kind", "device", "reason", "message", "sent")
    for letter in (each.letter for each in found):
        when = datetime.fromtimestamp(letter.rejected_at / 1000, UTC)
        sent = letter.sent[:60].decode(errors="replace")
        row = (letter.kind, letter.device_id or "", letter.code, letter.message, sent)
        table.add_row(f"{when:%m-%d %H:%M:%S}", *map(cell, row))
    results.print(table)
    reasons = Counter(each.letter.code for each in found)
    results.print(", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "none")


def replay(tenant: TenantOption, code: Code = None, as_json: Json = False) -> None:
    """Check refused records against the current contract, and send those that pass.

    Example: iotops deadletter replay --tenant acme --code future_timestamp
    """
    from iotops.kafka import open_producer
    from iotops.provisioning import known_tenant
    from pipelines.ingest import deadletter

    settings = get_settings()
    owner = known_tenant(settings, tenant)
    producer = open_producer(settings.kafka)
    with errors.status("replaying"):
        outcome = deadletter.replay(settings, owner, producer, code)
    producer.close()
    if as_json:
        print_json(asdict(outcome))
    else:
        results.print(
            f"{outcome.accepted:,} accepted, {outcome.refused:,} refused again, "
            f"{outcome.replayed_before:,} replayed before"
        )
