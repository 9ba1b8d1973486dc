"""What people thought of the copilot's answers: `gold.answer_ratings`, a row per week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from iotops.tenancy import Tenant
from pipelines.evaluation.evaluations_table import week_of

WINDOW = timedelta(days=7)
GIVEN = text("""
    SELECT count(*) AS ratings, count(*) FILTER (WHERE thumbs_up) AS thumbs_up FROM platform.feedback
    WHERE given_at > :first AND given_at <= :now""")
KEEP = text("""
    INSERT INTO gold.answer_ratings (tenant_id, week, evaluated_at, ratings, thumbs_up)
    VALUES (:tenant, :week, :now, :ratings, :thumbs_up)
    ON CONFLICT (tenant_id, week) DO UPDATE
    SET (evaluated_at, ratings, thumbs_up) = ROW (excluded.evaluated_at, excluded.ratings, excluded.thumbs_up)
    WHERE (answer_ratings.ratings, answer_ratings.thumbs_up) <> (excluded.ratings, excluded.thumbs_up)""")
LATEST = text(
    "SELECT week, evaluated_at, ratings, thumbs_up FROM gold.answer_ratings ORDER BY week DESC LIMIT 1"
)


@dataclass(frozen=True)
class Ratings:
    """How many thumbs were given in a window of seven days, and how many of them up."""

    ratings: int = 0
    thumbs_up: int = 0

    def __str__(self) -> str:
        share = f" ({self.thumbs_up / self.ratings:.0%})" if self.ratings else ""
        return f"{self.thumbs_up} of {self.ratings} thumbs up{share}"


def rate(connection: Connection, tenant: Tenant, now: datetime) -> Ratings:
    """Count the feedback of the last seven days and keep it under its week; nothing is kept of none.

    `connection` is in a `tenant_transaction`. Doing it again in the same week corrects the week's row.
    """
    row = connection.execute(GIVEN, {"first": now - WINDOW, "now": now}).one()
    if row.ratings:
        place = {"tenant": tenant.id, "week": week_of(now).date(), "now": now}
        connection.execute(KEEP, {**place, "ratings": row.ratings, "thumbs_up": row.thumbs_up})
    return Ratings(row.ratings, row.thumbs_up)
