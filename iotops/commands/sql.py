"""`iotops sql`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from iotops.commands.console import cell, errors, print_json, results
from iotops.commands.tenant import Json
from iotops.errors import IotOpsError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SHOWN_ROWS = 50
NARROW = 16
"""Characters to which a column may be folded before its row becomes a block."""
BATCH_ROWS = 50_000
FORMATS = (".parquet", ".csv")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sql")(sql)


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT, in DuckDB's SQL.")],
    credentials: Annotated[
        Path | None,
        typer.Option(
            envvar="IOTOPS_TENANT_CREDENTIALS",
            help="File with what `iotops tenant create --json` printed; else the IOTOPS_TENANT_* variables.",
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the result to a .parquet or .csv file.")] = None,
) -> None:
    """Ask silver and gold in SQL, as the tenant whose credentials are given: it sees its own rows only.

    Example: iotops sql "SELECT device_id, score FROM gold.device_health ORDER BY score LIMIT 5"
    """
    if as_json + as_csv + (output is not None) > 1:
        raise typer.BadParameter("--json, --csv and --output exclude each other")
    if output and output.suffix not in FORMATS:
        raise typer.BadParameter(f"--output {output} is refused: its name ends in {' or '.join(FORMATS)}")
    from iotops.analyst import connect, read_credentials

    with errors.status("opening silver and gold"):
        connection = connect(read_credentials(credentials))
    with connection, explained(connection):
        reader = read_only(connection, query).to_arrow_reader(BATCH_ROWS)
        if as_json:
            print_json(_rows(reader))
        elif as_csv:
            _write_csv(reader, sys.stdout.buffer)
        elif output:
            print(f"{_write(reader, output):,} rows in {output}")
        else:
            _print(reader)


def read_only(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
    """Run one query; raises `IotOpsError` where it is not one, or more than one."""
    import duckdb

    statements = connection.extract_statements(query)
    reading = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in reading:
        raise IotOpsError(
            "give one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN): silver and gold are read here, not written"
        )
    return connection.execute(statements[0])


@contextmanager
def explained(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Turn DuckDB's errors into ones for a person; an unknown table is told the known ones."""
    import duckdb

    from iotops.analyst import table_names

    try:
        yield
    except duckdb.Error as error:
        known = ""
        if isinstance(error, duckdb.CatalogException) and "Table with name" in str(error):
            known = f"\nknown tables: {', '.join(table_names(connection))}"
        raise IotOpsError(f"{error}{known}") from None


def _write(reader: pa.RecordBatchReader, output: Path) -> int:
    import pyarrow.parquet as pq

    try:
        file = output.open("wb")
    except OSError as error:
        raise IotOpsError(f"{output} cannot be written: {error.strerror}") from None
    with file:
        if output.suffix == ".csv":
            return _write_csv(reader, file)
        rows = 0
        with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows


def _write_csv(reader: pa.RecordBatchReader, file: Any) -> int:
    import pyarrow as pa
    import pyarrow.csv

    if nested := [field.name for field in reader.schema if pa.types.is_nested(field.type)]:
        raise IotOpsError(
            f"column {nested[0]} is nested, which CSV cannot hold: select to_json({nested[0]}), "
            "or take --json or a .parquet file"
        )
    rows = 0
    with pa.csv.CSVWriter(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _rows(reader: pa.RecordBatchReader) -> list[dict[str, Any]]:
    """Rows for JSON: a column that holds JSON already goes in as it is."""
    import orjson
    import pyarrow as pa

    documents = [field.name for field in reader.schema if field.type == pa.json_()]
    rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    for row in rows:
        row |= {name: orjson.loads(row[name]) for name in documents if row[name] is not None}
    return rows


def _print(reader: pa.RecordBatchReader) -> None:
    """A table of the first rows; one block per row where the columns do not fit side by side."""
    rows = list(islice((row for batch in reader for row in batch.to_pylist()), SHOWN_ROWS + 1))
    shown = [["" if value is None else str(value) for value in row.values()] for row in rows[:SHOWN_ROWS]]
    names = reader.schema.names
    widths = [max(map(len, column)) for column in zip(names, *shown, strict=True)]
    if sum(min(width, NARROW) + 3 for width in widths) <= results.width or not shown:
        table = Table(*map(Column, map(cell, names)), box=box.SIMPLE, pad_edge=False)
        for row in shown:
            table.add_row(*map(cell, row))
    else:
        table = Table(show_header=False, box=box.SIMPLE, pad_edge=False)
        for row in shown:
            for name, value in zip(names, row, strict=True):
                table.add_row(f"[bold]{escape(name)}[/]", cell(value))
            table.add_section()
    results.print(table, highlight=False)
    if len(rows) > SHOWN_ROWS:
        errors.print(
            f"the first {SHOWN_ROWS} rows; --json, --csv and --output FILE give all", highlight=False
        )
