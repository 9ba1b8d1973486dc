"""Alerts in Postgres, and which of their messages Kafka has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, text

from iotops.kafka import Partition
from iotops.tenancy import Tenant
from pipelines.ingest.alerting.episodes import Change, Opened, Resolved

OPEN = text("""
    WITH opened AS (
        INSERT INTO silver.alerts (tenant_id, alert_id, device_id, rule, kind, metric, severity, opened_at,
            evidence, topic, kafka_partition, kafka_offset)
        VALUES (:tenant, :alert_id, :device_id, :rule, :kind, NULLIF(:metric, ''), :severity,
            to_timestamp(:opened_at / 1000.0), CAST(:evidence AS jsonb), :topic, :partition, :offset)
        ON CONFLICT DO NOTHING RETURNING tenant_id, alert_id)
    INSERT INTO ingest.alert_messages (tenant_id, alert_id, status)
    SELECT tenant_id, alert_id, 'open' FROM opened""")
RESOLVE = text("""
    WITH resolved AS (
        UPDATE silver.alerts SET resolved_at = GREATEST(opened_at, to_timestamp(:resolved_at / 1000.0)),
            resolved_because = :because
        WHERE alert_id = :alert_id AND resolved_at IS NULL RETURNING tenant_id, alert_id)
    INSERT INTO ingest.alert_messages (tenant_id, alert_id, status)
    SELECT tenant_id, alert_id, 'resolved' FROM resolved""")
STILL_OPEN = text("""
    SELECT alert_id FROM silver.alerts
    WHERE topic = :topic AND kafka_partition = :partition AND resolved_at IS NULL""")
UNPUBLISHED = text("""
    SELECT m.position, m.status, m.attempted_at,
        a.alert_id::text, a.device_id, a.rule, a.kind, a.metric, a.severity, a.opened_at, a.evidence,
        CASE m.status WHEN 'resolved' THEN a.resolved_at END AS resolved_at,
        CASE m.status WHEN 'resolved' THEN a.resolved_because END AS resolved_because
    FROM ingest.alert_messages m JOIN silver.alerts a USING (tenant_id, alert_id)
    WHERE m.published_at IS NULL ORDER BY m.position LIMIT :limit""")
PUBLISHED = (
    "alert_id", "status", "device_id", "rule", "kind", "severity", "metric", "opened_at", "resolved_at",
    "resolved_because", "evidence",
)  # fmt: skip
MARK = {
    column: text(f"UPDATE ingest.alert_messages SET {column} = now() WHERE position = ANY(:positions)")
    for column in ("attempted_at", "published_at")
}
LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('alerts'), hashtext(:tenant))")


class Message(NamedTuple):
    """A message about an alert that Kafka is not known to have; `attempted_at` is the last try to send it."""

    position: int
    alert_id: str
    status: str
    device_id: str
    attempted_at: datetime | None
    content: bytes


def record(connection: Connection, tenant: Tenant, partition: Partition, changes: Iterable[Change]) -> None:
    """Store changes; one that is stored already changes nothing."""
    for change in changes:
        if isinstance(change, Resolved):
            connection.execute(RESOLVE, vars(change))
        else:
            connection.execute(OPEN, _row(tenant, partition, change))


def still_open(connection: Connection, partition: Partition) -> set[str]:
    """Ids of the alerts of a partition that are stored as open."""
    place = {"topic": partition.topic, "partition": partition.number}
    return {str(row.alert_id) for row in connection.execute(STILL_OPEN, place)}


def unpublished(connection: Connection, tenant: Tenant, limit: int) -> list[Message]:
    """The oldest messages that Kafka is not known to have, in order."""
    return [
        Message(
            row.position, row.alert_id, row.status, row.device_id, row.attempted_at, _content(tenant, row)
        )
        for row in connection.execute(UNPUBLISHED, {"limit": limit})
    ]


def mark(connection: Connection, column: str, messages: Sequence[Message]) -> None:
    """Stamp messages as `attempted_at` or `published_at` now."""
    connection.execute(MARK[column], {"positions": [message.position for message in messages]})


def lock(connection: Connection, tenant: Tenant) -> bool:
    """Whether this transaction is the only one to publish the tenant's alerts."""
    return bool(connection.execute(LOCK, {"tenant": tenant.id}).scalar_one())


def _row(tenant: Tenant, partition: Partition, alert: Opened) -> dict[str, Any]:
    return {
        "tenant": tenant.id,
        "alert_id": alert.alert_id,
        "device_id": alert.key.device_id,
        "rule": alert.key.rule,
        "kind": alert.kind,
        "metric": alert.key.metric,
        "severity": alert.severity,
        "opened_at": alert.opened_at,
        "evidence": orjson.dumps(alert.evidence).decode(),
        "topic": partition.topic,
        "partition": partition.number,
        "offset": alert.offset,
    }


def _content(tenant: Tenant, row: Any) -> bytes:
    return orjson.dumps({"tenant_id": tenant.id, **{name: getattr(row, name) for name in PUBLISHED}})
