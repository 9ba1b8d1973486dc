"""The two ends of the enrichment: error codes out of silver, explanations into gold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError
from sqlalchemy import Connection, text

from iotops.database import engine, tenant_transaction
from iotops.lake import iceberg_catalog
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.knowledge.enrichment_match import Explanation, SeenCode
from pipelines.lake.silver_tables import table_name

COLUMNS = ("device_id", "ts", "error_code", "message")
MODELS = text("""
    SELECT DISTINCT ON (device_id) device_id, model FROM gold.device_health
    WHERE model IS NOT NULL ORDER BY device_id, day DESC""")
# Ties go to the first by alphabet, so that the same events always ask the same. The events may be a stream.
COUNT = """
    WITH counted AS MATERIALIZED (
        SELECT error_code, device_id, coalesce(message, '') AS message, count(*) AS n,
            min(ts) AS first_seen, max(ts) AS last_seen
        FROM events WHERE error_code <> '' GROUP BY ALL),
    messages AS (
        SELECT error_code, message, row_number() OVER (
            PARTITION BY error_code ORDER BY sum(n) DESC, message) AS place
        FROM counted GROUP BY error_code, message)
    SELECT counted.error_code, any_value(messages.message) AS message,
        coalesce(list(DISTINCT model ORDER BY model) FILTER (WHERE model IS NOT NULL), []) AS models,
        count(DISTINCT device_id) AS devices, CAST(sum(n) AS BIGINT) AS events,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM counted LEFT JOIN models USING (device_id)
        JOIN messages ON messages.error_code = counted.error_code AND messages.place = 1
    GROUP BY counted.error_code ORDER BY counted.error_code"""
KEY = "error_code, doc_id, section"
VALUES = "title, uri, method, confidence, devices, events, first_seen, last_seen"
UPSERT = text(f"""
    INSERT INTO gold.error_knowledge AS kept (tenant_id, {KEY}, {VALUES})
    VALUES (:tenant, :error_code, :doc_id, :section, :title, :uri, :method, :confidence, :devices, :events,
        :first_seen, :last_seen)
    ON CONFLICT (tenant_id, {KEY}) DO UPDATE SET
        ({VALUES}) = ROW ({", ".join(f"excluded.{name}" for name in VALUES.split(", "))})
    WHERE ({", ".join(f"kept.{name}" for name in VALUES.split(", "))})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in VALUES.split(", "))})""")
DELETE = text(f"""
    DELETE FROM gold.error_knowledge WHERE ({KEY}) NOT IN (
        SELECT * FROM unnest(CAST(:codes AS text[]), CAST(:docs AS text[]), CAST(:sections AS text[])))""")


def seen_codes(settings: Settings, tenant: Tenant, since: datetime) -> list[SeenCode]:
    """The error codes of the tenant's events from `since` on, by code; none where there is no table yet."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        models = [tuple(row) for row in connection.execute(MODELS)]
    catalog = iceberg_catalog(settings.lake, settings.database)
    try:
        events = catalog.load_table(table_name(tenant, "events"))
    except NoSuchTableError:
        return []
    scan = events.scan(
        row_filter=f"ts >= '{since.isoformat()}' and error_code is not null", selected_fields=COLUMNS
    )
    return count_codes(scan.to_arrow_batch_reader(), models)


def count_codes(events: pa.Table | pa.RecordBatchReader, models: Sequence[tuple[Any, ...]]) -> list[SeenCode]:
    """Codes with their commonest message and their models of events (`COLUMNS`) and (device, model)."""
    pairs = pa.table(
        {"device_id": [device for device, _ in models], "model": [model for _, model in models]},
        schema=pa.schema([("device_id", pa.string()), ("model", pa.string())]),
    )
    with duckdb.connect(config={"threads": 1}) as database:
        database.register("events", events)
        database.register("models", pairs)
        return [SeenCode(**row) for row in database.sql(COUNT).to_arrow_table().to_pylist()]


def write(
    connection: Connection, tenant: Tenant, codes: Sequence[SeenCode], found: Sequence[Sequence[Explanation]]
) -> int:
    """Make the tenant's rows exactly these, in a `tenant_transaction`; how many were written or deleted."""
    rows = [
        row
        for code, articles in zip(codes, found, strict=True)
        for row in ([_row(tenant, code, each) for each in articles] or [_gap(tenant, code)])
    ]
    keys = {
        parameter: [row[name] for row in rows]
        for parameter, name in (("codes", "error_code"), ("docs", "doc_id"), ("sections", "section"))
    }
    deleted = connection.execute(DELETE, keys).rowcount
    return deleted + (connection.execute(UPSERT, rows).rowcount if rows else 0)


def _row(tenant: Tenant, code: SeenCode, explanation: Explanation) -> dict[str, Any]:
    hit = explanation.hit
    return _gap(tenant, code) | {
        "doc_id": hit.doc_id,
        "section": hit.section,
        "title": hit.title,
        "uri": hit.uri,
        "method": explanation.method,
        "confidence": explanation.confidence,
    }


def _gap(tenant: Tenant, code: SeenCode) -> dict[str, Any]:
    return {
        "tenant": tenant.id,
        "error_code": code.error_code,
        **dict.fromkeys(("doc_id", "section", "title", "uri"), ""),
        "method": "none",
        "confidence": 0.0,
        "devices": code.devices,
        "events": code.events,
        "first_seen": code.first_seen,
        "last_seen": code.last_seen,
    }
