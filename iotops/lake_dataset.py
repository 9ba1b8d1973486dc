"""An Iceberg table as an Arrow dataset: lazy, with the columns and the rows that a query needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FileSystem
from pyiceberg.conversions import from_bytes
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import FileFormat
from pyiceberg.schema import Schema
from pyiceberg.types import TimestamptzType

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table


class Stream:
    """A table that is read whole each time that it is scanned, and not before; DuckDB registers it."""

    def __init__(self, schema: pa.Schema, read: Callable[[], pa.RecordBatchReader]) -> None:
        self.schema, self._read = schema, read

    def __arrow_c_schema__(self) -> Any:
        """The schema, without reading."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows, read now."""
        return self._read().__arrow_c_stream__(requested_schema)


def lake_dataset(table: Table, filesystem: FileSystem, bucket: str) -> ds.Dataset | Stream:
    """The rows of the table's current snapshot, with its current columns; later commits do not change it.

    `filesystem` is the bucket's. Columns go by name: one that an older file lacks is null there, a widened
    type is cast. Each file carries the bounds that its manifest has for timestamps, so that a query skips
    files unopened. A table with deletion files, with a renamed column or with another format than Parquet
    is left to pyiceberg, which reads it whole.
    """
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    tasks = list(table.scan().plan_files())
    if (
        any(task.delete_files or task.file.file_format != FileFormat.PARQUET for task in tasks)
        or not names_are_ids(table.schemas().values())
    ):  # fmt: skip
        return Stream(schema, lambda: table.scan().to_arrow_batch_reader())
    parquet = ds.ParquetFileFormat()
    fragments = [
        parquet.make_fragment(
            task.file.file_path.removeprefix(f"s3://{bucket}/"),
            filesystem,
            partition_expression=_bounds(task.file, table.schema()),
        )
        for task in tasks
    ]
    return ds.FileSystemDataset(fragments, schema, parquet, filesystem)


def names_are_ids(schemas: Iterable[Schema]) -> bool:
    """Whether over all versions of a schema each column kept its name, and no name came to mean another."""
    pairs = {(field.field_id, field.name) for schema in schemas for field in schema.fields}
    return len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs})


def _bounds(file: DataFile, schema: Schema) -> ds.Expression | None:
    """What holds for every row of the file, from its manifest."""
    known: list[ds.Expression] = []
    for field in schema.fields:
        lower = (file.lower_bounds or {}).get(field.field_id)
        upper = (file.upper_bounds or {}).get(field.field_id)
        nulls = (file.null_value_counts or {}).get(field.field_id)
        if isinstance(field.field_type, TimestamptzType) and lower and upper and nulls == 0:
            first, last = (
                pa.scalar(from_bytes(field.field_type, bound), pa.timestamp("us", "UTC"))
                for bound in (lower, upper)
            )
            known += [ds.field(field.name) >= first, ds.field(field.name) <= last]
    return reduce(and_, known) if known else None
