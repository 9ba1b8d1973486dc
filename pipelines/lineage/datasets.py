"""What runs read and write, under the names that a person types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from iotops.settings import Settings

POSTGRES_SCHEMAS = frozenset({"gold", "silver", "ingest", "platform"})
Store = Literal["lake", "postgres", "iceberg"]


@dataclass(frozen=True)
class Dataset:
    """Something that a run read or wrote, and how much of it.

    `name` is `acme.telemetry` (an Iceberg table), `gold.device_health` (a table in Postgres) or
    `acme/bronze/raw` (a folder of the lake, below the bucket).
    """

    name: str
    rows: int | None = None
    fields: tuple[tuple[str, str], ...] = ()
    """Name and type of each column; a table's are looked up when the run ends, if none are given."""
    files: int | None = None
    """Objects that were read."""
    parts: tuple[str, ...] = ()
    """Which part of it: bronze hours as `2026-11-02/15`, days as `2026-11-02`; all of it where empty."""
    version: str = ""
    """Id of an immutable version, such as an index snapshot."""

    @property
    def store(self) -> Store:
        """Where it lives."""
        if "/" in self.name:
            return "lake"
        return "postgres" if self.name.partition(".")[0] in POSTGRES_SCHEMAS else "iceberg"

    def to_json(self) -> dict[str, Any]:
        """For a jsonb column, which keeps the order of arrays but not of objects."""
        return {
            "name": self.name,
            "rows": self.rows,
            "files": self.files,
            "version": self.version,
            "parts": list(self.parts),
            "fields": [{"name": name, "type": kind} for name, kind in self.fields],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The reverse of `to_json`."""
        return cls(
            stored["name"],
            stored["rows"],
            tuple((field["name"], field["type"]) for field in stored["fields"]),
            stored["files"],
            tuple(stored["parts"]),
            stored["version"],
        )


def openlineage_name(dataset: Dataset, settings: Settings) -> tuple[str, str]:
    """Namespace and name as OpenLineage's naming specification has them (openlineage.io/docs/spec/naming).

    An Iceberg table is named by where its files lie, as OpenLineage's Spark integration does it.
    """
    if dataset.store == "postgres":
        database = settings.database
        return f"postgres://{database.host}:{database.port}", f"{database.name}.{dataset.name}"
    if dataset.store == "iceberg":
        tenant, _, table = dataset.name.partition(".")
        return f"s3://{settings.lake.bucket}", f"{tenant}/silver/{table}"
    return f"s3://{settings.lake.bucket}", dataset.name
