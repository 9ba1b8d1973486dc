"""The texts of a batch: a column of Parquet, CSV or JSONL files, as tables of id and text."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import FileSelector, FileType

from iotops.errors import IotOpsError
from pipelines.jobs.places import Place

FORMATS = {"parquet": "parquet", "csv": "csv", "jsonl": "json"}
TEXTS = pa.schema([("id", pa.string()), ("text", pa.string())])


def text_files(place: Place) -> ds.Dataset:
    """The files of a place, which are all Parquet, all CSV or all JSONL; raises `IotOpsError` otherwise."""
    if place.type == FileType.File:
        paths = [place.path]
    else:
        found = place.filesystem.get_file_info(FileSelector(place.path, recursive=True))
        paths = sorted(
            info.path for info in found
            if info.type == FileType.File and not info.base_name.startswith(("_", "."))
        )  # fmt: skip
    suffixes = {path.rpartition(".")[2].lower() for path in paths}
    if len(suffixes) != 1 or not suffixes <= FORMATS.keys():
        raise IotOpsError(
            f"input {place} is refused: it holds {', '.join(sorted(suffixes)) or 'no'} files; "
            f"give files of one kind: .{', .'.join(FORMATS)}"
        )
    kind = FORMATS[suffixes.pop()]
    try:
        texts = ds.dataset(paths, filesystem=place.filesystem, format=kind)
        if kind == "csv":  # all is text there: read as a number, the id 00123 would be another
            columns = pa.schema([(name, pa.string()) for name in texts.schema.names])
            texts = ds.dataset(paths, schema=columns, filesystem=place.filesystem, format=kind)
        return texts
    except (pa.ArrowInvalid, OSError) as error:
        raise IotOpsError(f"input {place} cannot be read: {error}") from None


def check_columns(texts: ds.Dataset, place: Place, column: str, id_column: str | None) -> None:
    """Raise `IotOpsError` where a column is missing, or the text is none."""
    for name in filter(None, (column, id_column)):
        if name not in texts.schema.names:
            raise IotOpsError(
                f"input {place} has no column {name!r}; its columns are: {', '.join(texts.schema.names)}"
            )
    kind = texts.schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise IotOpsError(f"column {column!r} of {place} holds {kind}, not text")


def fingerprint(texts: ds.Dataset) -> str:
    """Changes when the files do: their paths, sizes and times."""
    infos = texts.filesystem.get_file_info(texts.files)
    return " ".join(f"{info.path}:{info.size}:{info.mtime_ns}" for info in infos)


def parts_of(texts: ds.Dataset, column: str, id_column: str | None, rows_per_part: int) -> Iterator[pa.Table]:
    """Tables (`TEXTS`) of `rows_per_part` rows, the last one of fewer, in the order of the files.

    Without an id column the id is the row's number, from 0; a text that is null is an empty one. Raises
    `IotOpsError` where a file is broken further on.
    """
    held: list[pa.RecordBatch] = []
    rows = number = 0
    for batch in _batches(texts, [*filter(None, (id_column,)), column]):
        ids = (
            pc.cast(batch[id_column], pa.string())
            if id_column
            else pc.cast(pa.array(range(number, number + batch.num_rows), pa.int64()), pa.string())
        )
        number += batch.num_rows
        text = pc.fill_null(pc.cast(batch[column], pa.string()), "")
        rest = pa.RecordBatch.from_arrays([ids, text], schema=TEXTS)
        while rows + rest.num_rows >= rows_per_part:
            taken = rows_per_part - rows
            yield pa.Table.from_batches([*held, rest.slice(0, taken)], TEXTS)
            held, rows, rest = [], 0, rest.slice(taken)
        if rest.num_rows:
            held.append(rest)
            rows += rest.num_rows
    if rows:
        yield pa.Table.from_batches(held, TEXTS)


def _batches(texts: ds.Dataset, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from texts.to_batches(columns=columns)
    except pa.ArrowInvalid as error:
        raise IotOpsError(f"the input cannot be read to its end: {error}") from None
