"""How a table's schema may change: added and widened columns are applied, everything else is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyiceberg.exceptions import ResolveError
from pyiceberg.schema import Schema, promote
from pyiceberg.types import IcebergType

from iotops.errors import LakeError

if TYPE_CHECKING:
    from pyiceberg.table import Table

Columns = Mapping[str, IcebergType]


@dataclass(frozen=True)
class Changes:
    """What leads from a table's schema to the declared columns."""

    added: dict[str, IcebergType] = field(default_factory=dict)
    widened: dict[str, IcebergType] = field(default_factory=dict)
    breaking: tuple[str, ...] = ()
    """Each in words: what changed, from what to what."""


def compare(schema: Schema, declared: Columns) -> Changes:
    """The changes from `schema` to `declared`; columns are known by their name, in any order."""
    present: dict[str, IcebergType] = {column.name: column.field_type for column in schema.fields}
    added = {name: kind for name, kind in declared.items() if name not in present}
    breaking = []
    for name, kind in present.items():
        if name not in declared:
            alike = [new for new, new_kind in added.items() if new_kind == kind]
            renamed = f", or was renamed to {' or '.join(alike)}" if alike else ""
            breaking.append(f"{name} ({kind}) is no longer declared{renamed}")
        elif not _widens(kind, declared[name]):
            breaking.append(f"{name} changed from {kind} to {declared[name]}")
    widened = {name: kind for name, kind in declared.items() if present.get(name, kind) != kind}
    return Changes(added, widened, tuple(breaking))


def refuse_breaking(changes: Mapping[str, Changes]) -> None:
    """Raise `LakeError` that says what breaks in which table."""
    broken = {table: each.breaking for table, each in changes.items() if each.breaking}
    if broken:
        what = "; ".join(f"{table}: {', '.join(breaking)}" for table, breaking in broken.items())
        raise LakeError(
            f"the schema of silver changed in a way that breaks what is stored: {what}. Nothing was written. "
            "A column can be added, and widened from int to long or from float to double: keep the old one "
            "as it was and give the changed one a new name beside it"
        )


def apply(table: Table, changes: Changes) -> None:
    """Add and widen columns in one commit; no data file is rewritten."""
    if changes.added or changes.widened:
        with table.update_schema() as update:
            for name, kind in changes.added.items():
                update.add_column(name, kind)
            for name, kind in changes.widened.items():
                update.update_column(name, kind)


def _widens(stored: IcebergType, declared: IcebergType) -> bool:
    if stored == declared:
        return True
    try:
        promote(stored, declared)
    except ResolveError:
        return False
    return True
