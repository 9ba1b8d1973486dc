"""`gold.rag_evaluations`: a row per week, method and index version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import Connection, text

from iotops.tenancy import Tenant
from pipelines.evaluation.measures import Measures

FIGURES = "questions, ndcg_at_10, recall_at_10, mrr"
GIVEN = ":questions, :ndcg_at_10, :recall_at_10, :mrr"
SAME = "method = :method AND snapshot = :snapshot AND evaluated_at >= :week"
UPDATE = text(f"""
    UPDATE gold.rag_evaluations SET ({FIGURES}) = ROW ({GIVEN})
    WHERE {SAME} AND ({FIGURES}) IS DISTINCT FROM ({GIVEN})""")
INSERT = text(f"""
    INSERT INTO gold.rag_evaluations (tenant_id, evaluated_at, method, snapshot, {FIGURES})
    SELECT :tenant, :now, :method, :snapshot, {GIVEN}
    WHERE NOT EXISTS (SELECT 1 FROM gold.rag_evaluations WHERE {SAME})""")
BEFORE = text("""
    SELECT DISTINCT ON (method) method, ndcg_at_10 FROM gold.rag_evaluations
    WHERE evaluated_at < :week AND method = ANY(:methods) ORDER BY method, evaluated_at DESC""")


def week_of(moment: datetime) -> datetime:
    """The beginning of its week: Monday, midnight (UTC)."""
    day = moment.astimezone(UTC).date()
    return datetime.combine(day - timedelta(days=day.weekday()), time(), UTC)


def write(
    connection: Connection, tenant: Tenant, now: datetime, snapshot: str, measures: dict[str, Measures]
) -> int:
    """Keep the measures by method; returns how many rows were written.

    What the week holds already for the method and the snapshot is corrected where it differs. `connection` is
    in a `tenant_transaction`, and nobody else evaluates the tenant meanwhile.
    """
    place = {"tenant": tenant.id, "now": now, "week": week_of(now), "snapshot": snapshot}
    rows = [{**place, "method": method, **asdict(each)} for method, each in measures.items()]
    return sum(connection.execute(statement, row).rowcount for row in rows for statement in (UPDATE, INSERT))


def before(connection: Connection, now: datetime, methods: Iterable[str]) -> dict[str, float]:
    """The last nDCG@10 of each method before this week; a method that is new has none."""
    found = connection.execute(BEFORE, {"week": week_of(now), "methods": list(methods)})
    return {row.method: row.ndcg_at_10 for row in found}
