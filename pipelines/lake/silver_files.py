"""Writing silver: tasks write the data files, the driver puts them in the place of an hour's earlier ones."""

from __future__ import annotations

import pickle
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import CommitFailedException

from iotops.errors import LakeError
from pipelines.lake.deduplication import SilverRows
from pipelines.lake.keys import ordered
from pipelines.lake.known import arrived_in

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

UTC_US = pa.timestamp("us", tz="UTC")
WRITTEN = pa.schema(
    [
        ("arrival_hour", UTC_US),
        ("kind", pa.string()),
        ("records", pa.int64()),
        ("rows", pa.int64()),
        ("files", pa.binary()),
    ]
)
"""What a task wrote, by arrival hour and kind of row: the records that its rows lead, the rows, and the
pickled data files, which no table knows of yet."""

ROW_ORDER = {
    "telemetry": ("device_id", "metric", "ts"),
    "events": ("device_id", "ts"),
    "quarantine": ("object", "line"),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_files(rows: SilverRows, tables: Mapping[str, Table]) -> pa.Table:
    """Write the rows of each table as files of it; what was written, as `WRITTEN`."""
    # A kind may have rows and lead no record: that of readings which each had a metric refused.
    written: defaultdict[tuple[datetime, str], dict[str, Any]] = defaultdict(
        lambda: {"records": 0, "rows": 0, "files": []}
    )
    for count in rows.records.group_by(["arrival_hour", "kind"]).aggregate([([], "count_all")]).to_pylist():
        written[count["arrival_hour"], count["kind"]]["records"] = count["count_all"]
    for kind, table in tables.items():
        for count in rows.tables[kind].group_by("arrival_hour").aggregate([([], "count_all")]).to_pylist():
            written[count["arrival_hour"], kind]["rows"] = count["count_all"]
        for file in _write(rows.tables[kind], kind, table):
            arrived = EPOCH + timedelta(hours=file.partition[-1])
            written[arrived, kind]["files"].append(file)
    reports = [
        {"arrival_hour": hour, "kind": kind, **report, "files": pickle.dumps(report["files"])}
        for (hour, kind), report in written.items()
    ]
    return pa.Table.from_pylist(reports, schema=WRITTEN)


def _write(rows: pa.Table, kind: str, table: Table) -> Iterator[DataFile]:
    # Not public, but what `Table.append` and Ray's own writer call: neither can write without a commit.
    from pyiceberg.io.pyarrow import _dataframe_to_data_files, schema_to_pyarrow

    if not rows.num_rows:
        return
    order = pa.array(ordered(rows, ("arrival_hour", *ROW_ORDER[kind])))
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    # An hour at a time: to find the rows of a partition, pyiceberg looks at all that it is given.
    for hour in _runs(rows["arrival_hour"].take(order)):
        part = rows.select(schema.names).take(order.slice(*hour)).cast(schema)
        yield from _dataframe_to_data_files(table_metadata=table.metadata, df=part, io=table.io)


def _runs(column: pa.ChunkedArray) -> Iterator[tuple[int, int]]:
    """Offset and length of each run of equal values."""
    ends = pc.run_end_encode(column.combine_chunks()).run_ends.to_pylist()
    for start, end in zip([0, *ends], ends, strict=False):
        yield start, end - start


Written = dict[datetime, list[dict[str, Any]]]
"""By arrival hour the rows of `WRITTEN` with `files` as a list of data files, one for each kind."""


def by_hour(written: pa.Table) -> Written:
    """The tasks' reports (`WRITTEN`) merged."""
    merged: dict[tuple[datetime, str], dict[str, Any]] = {}
    for row in written.to_pylist():
        row["files"] = pickle.loads(row["files"])
        whole = merged.setdefault((row["arrival_hour"], row["kind"]), row)
        if whole is not row:
            for name in ("records", "rows", "files"):
                whole[name] += row[name]
    hours: Written = {}
    for (hour, _), row in merged.items():
        hours.setdefault(hour, []).append(row)
    return hours


def replace_hours(table: Table, hours: Sequence[datetime], files: Sequence[DataFile]) -> None:
    """Put the files in the place of all that the arrival hours brought, in one commit.

    Raises `LakeError` where the table is no longer as `table` shows it: then nothing has changed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Delete operation did not match any records")
        try:
            with table.transaction() as transaction:
                transaction.delete(arrived_in(hours))
                if files:
                    with transaction.update_snapshot().merge_append() as append:
                        for file in files:
                            append.append_data_file(file)
        except CommitFailedException as error:
            name = ".".join(table.name())
            raise LakeError(
                f"{name} was changed by another run while this one was writing {len(hours)} arrival hours to "
                f"it: they are as the other run left them. Run it again. ({error})"
            ) from error
