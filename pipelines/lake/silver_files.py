"""Writing silver: tasks write the data files, the driver puts them in the place of an hour's earlier ones."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import CommitFailedException

from iotops.errors import LakeError
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
        ("first", UTC_US),
        ("last", UTC_US),
        ("files", pa.binary()),
    ]
)
"""What a task wrote, by arrival hour and kind of row: the records that its rows lead, the rows, the first and
last event time, and the pickled data files, which no table knows of yet."""

ROW_ORDER = {
    "telemetry": ("device_id", "metric", "ts"),
    "events": ("device_id", "ts"),
    "quarantine": ("object", "line"),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_files(rows: pa.Table, tables: Mapping[str, Table]) -> pa.Table:
    """Write the rows of each kind (`parsing.PARSED`) as files of its table; what it wrote, as `WRITTEN`."""
    files: dict[tuple[str, datetime], list[DataFile]] = {}
    for kind, table in tables.items():
        for file in _write(rows.filter(pc.equal(rows["kind"], kind)), kind, table):
            arrived = EPOCH + timedelta(hours=file.partition[-1])
            files.setdefault((kind, arrived), []).append(file)
    counts = (
        rows.group_by(["arrival_hour", "kind"])
        .aggregate([("leads", "sum"), ("kind", "count"), ("ts", "min"), ("ts", "max")])
        .rename_columns(WRITTEN.names[:-1])
        .to_pylist()
    )
    for row in counts:
        row["files"] = pickle.dumps(files.get((row["kind"], row["arrival_hour"]), []))
    return pa.Table.from_pylist(counts, schema=WRITTEN)


def _write(rows: pa.Table, kind: str, table: Table) -> Iterable[DataFile]:
    # Not public, but what `Table.append` and Ray's own writer call: neither can write without a commit.
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    if not rows.num_rows:
        return ()
    columns = [field.name for field in table.schema().fields]
    ordered = rows.select(columns).sort_by([(column, "ascending") for column in ROW_ORDER[kind]])
    return _dataframe_to_data_files(table_metadata=table.metadata, df=ordered, io=table.io)


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
            whole["first"] = min((each["first"] for each in (whole, row) if each["first"]), default=None)
            whole["last"] = max((each["last"] for each in (whole, row) if each["last"]), default=None)
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
