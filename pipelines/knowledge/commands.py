"""`iotops docs`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iotops.commands.console import cell, print_columns, print_json, progress, results
from iotops.commands.tenant import Json
from iotops.errors import IotOpsError
from iotops.provisioning import known_tenant
from iotops.settings import get_settings
from iotops.tenancy import SHARED_PREFIX

OptionalTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Whose shelf, e.g. acme.")]
Background = Annotated[
    bool, typer.Option("--background", help="Leave the index to the flow doc-ingestion and return.")
]
Shared = Annotated[bool, typer.Option("--shared", help="The shelf that every tenant may read.")]
_NAMED = 3
"""Of the files that were skipped."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    docs = typer.Typer(help="Put documents on a shelf and keep its index up to date.", no_args_is_help=True)
    docs.command("add")(add)
    docs.command("list")(list_all)
    docs.command("remove")(remove)
    docs.command("status")(status)
    app.add_typer(docs, name="docs")


def add(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Documents, or folders of them: Markdown, HTML, PDF, Word, text, CSV."),
    ],
    tenant: OptionalTenant = None,
    shared: Shared = False,
    background: Background = False,
    as_json: Json = False,
) -> None:
    """Add or replace documents and update the index; only what changed is embedded.

    Example: iotops docs add ./manuals --tenant acme
    """
    from iotops.lake import lake_filesystem
    from pipelines.knowledge.store import add_documents

    settings, owner = get_settings(), shelf_owner(tenant, shared)
    with progress("reading") as on_progress:
        report = add_documents(lake_filesystem(settings.lake), owner, paths, on_progress)
    built = _leave_index(owner, bool(report.added)) if background else _index(owner)
    if as_json:
        print_json({**asdict(report), **built})
    else:
        results.print(
            f"{len(report.added)} added, {len(report.unchanged)} unchanged, {len(report.refused)} refused; "
            + _state_of_index(built)
        )
        if report.skipped:
            print(said_of_skipped(report.skipped))
    if report.refused:
        raise IotOpsError("; ".join(f"{path}: {reason}" for path, reason in report.refused.items()))


def list_all(tenant: OptionalTenant = None, shared: Shared = False, as_json: Json = False) -> None:
    """List the documents of a shelf.

    Example: iotops docs list --tenant acme
    """
    from iotops.lake import lake_filesystem
    from pipelines.knowledge.store import list_documents

    entries = list_documents(lake_filesystem(get_settings().lake), shelf_owner(tenant, shared))
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = [("bytes", "modified", "document")]
    for entry in entries:
        modified = f"{entry.modified:%Y-%m-%d %H:%M}" if entry.modified else ""
        rows.append((f"{entry.bytes:,}", modified, entry.path))
    print_columns(*rows)


def status(tenant: OptionalTenant = None, shared: Shared = False, as_json: Json = False) -> None:
    """Compare a shelf with its index: what waits to be indexed, what was refused and why.

    Example: iotops docs status --tenant acme
    """
    from indexes.exchange import current, documents, manifest, pointer, rolled_back_at
    from indexes.schema import DOCUMENT_SCHEMA, shelf_prefix
    from iotops.lake import lake_filesystem
    from pipelines.knowledge.changes import changed_content, waiting
    from pipelines.knowledge.store import list_documents, state_of

    owner = shelf_owner(tenant, shared)
    lake, prefix = lake_filesystem(get_settings().lake), shelf_prefix(owner, "indexes")
    entries, serving = list_documents(lake, owner), current(lake, prefix)
    made = manifest(lake, prefix, serving) if serving else None
    indexed = documents(lake, prefix, serving) if serving else DOCUMENT_SCHEMA.empty_table()
    waits = waiting(entries, indexed)
    touched = [entry for entry in entries if entry.path in set(waits["changed"])]
    waits["changed"] = changed_content(lake, owner, touched, indexed)
    found = {
        "documents": len(entries),
        "snapshot_id": serving,
        "rolled_back": rolled_back_at(pointer(lake, prefix)) == state_of(entries),
        "made_at": made and made.created_at.isoformat(timespec="seconds"),
        "indexed": made.documents if made else 0,
        "chunks": made.chunks if made else 0,
        **waits,
        "refused": {row["path"]: row["refused"] for row in indexed.to_pylist() if row["refused"]},
    }
    if as_json:
        print_json(found)
        return
    table = Table("", "", show_header=False, title="Shelf")
    for name, value in found.items():
        lines = [f"{path}: {why}" for path, why in value.items()] if isinstance(value, dict) else value
        shown = "\n".join(lines) if isinstance(lines, list) else str(lines or 0)
        table.add_row(name.replace("_", " "), cell(shown))
    results.print(table)


def remove(
    documents: Annotated[list[str], typer.Argument(help="Paths as `iotops docs list` shows them.")],
    tenant: OptionalTenant = None,
    shared: Shared = False,
    background: Background = False,
) -> None:
    """Remove documents and update the index.

    Example: iotops docs remove old-manual.md --tenant acme
    """
    from iotops.lake import lake_filesystem
    from pipelines.knowledge.store import remove_documents

    owner = shelf_owner(tenant, shared)
    remove_documents(lake_filesystem(get_settings().lake), owner, documents)
    built = _leave_index(owner, changed=True) if background else _index(owner)
    results.print(f"{len(set(documents))} removed; {_state_of_index(built)}")


def said_of_skipped(files: list[str]) -> str:
    """How many files of other kinds were left out, and the names of the first."""
    more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
    return f"{len(files):,} of other kinds skipped: {', '.join(files[:_NAMED])}{more}"


def shelf_owner(tenant: str | None, shared: bool) -> str:
    """Whose shelf the options name; raises `TenantError` where there is no such tenant."""
    if (tenant is None) == (not shared):
        raise typer.BadParameter("name a shelf: --tenant ID, or --shared")
    return SHARED_PREFIX if tenant is None else known_tenant(get_settings(), tenant).id


def _index(owner: str) -> dict[str, int | str]:
    from pipelines.knowledge.shelf import index_shelf

    with progress("indexing") as on_progress:
        manifest = index_shelf(get_settings(), owner, on_progress=on_progress).manifest
    if manifest is None:
        return {"documents": 0, "chunks": 0}
    return {"snapshot_id": manifest.snapshot_id, "documents": manifest.documents, "chunks": manifest.chunks}


def _state_of_index(built: dict[str, int | str]) -> str:
    if "documents" not in built:
        return "the flow doc-ingestion indexes them"
    return f"the index holds {built['documents']} documents in {built['chunks']} chunks"


def _leave_index(owner: str, changed: bool) -> dict[str, int | str]:
    """Tell Prefect that the shelf changed, which starts the flow."""
    import httpx

    from pipelines.events import documents_changed

    settings = get_settings().prefect
    try:
        if changed:
            documents_changed(settings, owner)
    except httpx.HTTPError as error:
        raise IotOpsError(
            f"the documents are stored and not indexed: Prefect at {settings.api_url} does not answer "
            f"({error}). Index them by the same command without --background"
        ) from None
    return {}
