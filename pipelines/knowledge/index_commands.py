"""`iotops index`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from iotops.commands.console import errors, print_columns, print_json, progress, results
from iotops.commands.tenant import Json
from iotops.settings import get_settings
from pipelines.knowledge.commands import OptionalTenant, Shared, shelf_owner

SnapshotId = Annotated[str, typer.Argument(help="A snapshot, as `iotops index list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    index = typer.Typer(help="The snapshots of a shelf's index.", no_args_is_help=True)
    index.command("list")(list_all)
    index.command("snapshot")(snapshot)
    index.command("rollback")(rollback)
    index.command("verify")(verify)
    app.add_typer(index, name="index")


def list_all(tenant: OptionalTenant = None, shared: Shared = False, as_json: Json = False) -> None:
    """List the snapshots that are kept: the newest three, and the last of each of seven days.

    Example: iotops index list --tenant acme
    """
    from indexes.exchange import current, manifests
    from indexes.schema import shelf_prefix
    from indexes.snapshot import Manifest
    from iotops.lake import lake_filesystem

    lake, prefix = lake_filesystem(get_settings().lake), shelf_prefix(shelf_owner(tenant, shared), "indexes")
    serving = current(lake, prefix)
    kept = manifests(lake, prefix).values()
    found = [each for each in kept if isinstance(each, Manifest)]
    for damage in [each for each in kept if not isinstance(each, Manifest)]:
        errors.print(f"left out: {damage}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        rows = (each.model_dump(mode="json", exclude={"files"}) for each in found)
        print_json([row | {"current": row["snapshot_id"] == serving} for row in rows])
        return
    lines = [("snapshot (time made, UTC)", "documents", "chunks", "vectors", "")]
    for each in found:
        figures = (f"{each.documents:,}", f"{each.chunks:,}", each.vector_kind)
        lines.append((each.snapshot_id, *figures, "current" if each.snapshot_id == serving else ""))
    print_columns(*lines)


def snapshot(tenant: OptionalTenant = None, shared: Shared = False) -> None:
    """Build the index anew, whether or not a document has changed, and make it the current snapshot.

    Example: iotops index snapshot --tenant acme
    """
    from pipelines.knowledge.shelf import index_shelf

    owner = shelf_owner(tenant, shared)
    with progress("indexing") as on_progress:
        made = index_shelf(get_settings(), owner, force=True, on_progress=on_progress).manifest
    print(f"{made.snapshot_id} is current" if made else "the shelf has no documents: nothing was made")


def rollback(snapshot_id: SnapshotId, tenant: OptionalTenant = None, shared: Shared = False) -> None:
    """Make an earlier snapshot the current one, once every byte of it is verified.

    It serves until a document changes or is stored again: the next build is from the documents as they are
    then.

    Example: iotops index rollback 20261112T101500123Z-0123456789abcdef --tenant acme
    """
    from indexes import exchange
    from indexes.schema import shelf_prefix
    from iotops.lake import lake_filesystem
    from pipelines.knowledge.store import list_documents, state_of

    owner = shelf_owner(tenant, shared)
    lake, prefix = lake_filesystem(get_settings().lake), shelf_prefix(owner, "indexes")
    with tempfile.TemporaryDirectory(prefix="rollback-") as folder:
        exchange.fetch(lake, prefix, snapshot_id, Path(folder))
    exchange.rollback(lake, prefix, snapshot_id, state_of(list_documents(lake, owner)))
    print(f"{snapshot_id} is current; replicas change to it within seconds")


def verify(tenant: OptionalTenant = None, shared: Shared = False) -> None:
    """Check every byte of every snapshot that is kept, and that the current one is among them.

    Example: iotops index verify --tenant acme
    """
    from indexes.exchange import damages
    from indexes.schema import shelf_prefix
    from iotops.errors import SnapshotError
    from iotops.lake import lake_filesystem

    owner = shelf_owner(tenant, shared)
    lake, prefix = lake_filesystem(get_settings().lake), shelf_prefix(owner, "indexes")
    bad: list[str] = []
    with errors.status("verifying"):
        for name, damage in damages(lake, prefix):
            if damage is None:
                results.print(f"{name} is whole", markup=False, highlight=False, soft_wrap=True)
            else:
                bad.append(str(damage))
    if bad:
        raise SnapshotError(f"{len(bad)} found damaged: {'; '.join(bad)}")
