"""What the database knows about a device, always as one tenant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from threading import Lock
from typing import Any

from cachetools import TTLCache, cachedmethod
from sqlalchemy import Connection, TextClause, text

from indexes.codes import code_key
from iotops.database import engine, tenant_transaction
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.period import EVER, Period

HEALTH = text("""
    SELECT day, model, score, readings, errors FROM gold.device_health
    WHERE device_id = :device ORDER BY day DESC LIMIT 1""")
COMPONENTS = text("""
    SELECT component, value, penalty, weight, detail FROM gold.device_health_components
    WHERE device_id = :device AND day = :day ORDER BY penalty DESC, component""")
RISK = text("""
    SELECT horizon_hours, probability FROM gold.failure_risk
    WHERE device_id = :device AND day = :day ORDER BY horizon_hours""")
EVENTS = text("""
    SELECT ts, type, severity, error_code, message FROM silver.events
    WHERE device_id = :device ORDER BY ts DESC LIMIT :limit""")
EVENTS_WITHIN = text("""
    SELECT * FROM (
        SELECT ts, type, severity, error_code, message FROM silver.events
        WHERE device_id = :device AND ts >= :since AND ts < :until
        ORDER BY error_code IS NULL, ts DESC LIMIT :limit
    ) chosen ORDER BY ts DESC""")
ALERTS = text("""
    SELECT alert_id::text, rule, kind, metric, severity, opened_at, resolved_at, resolved_because, evidence
    FROM silver.alerts
    WHERE device_id = :device AND opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since)
    ORDER BY resolved_at IS NOT NULL, opened_at DESC LIMIT :limit""")
TREND = text("""
    SELECT * FROM (
        SELECT ts, metrics FROM silver.telemetry
        WHERE device_id = :device AND ts >= :since AND ts < :until ORDER BY ts DESC LIMIT :limit
    ) latest ORDER BY ts""")
KNOWN = text("""
    SELECT name FROM unnest(CAST(:names AS text[])) AS name
    WHERE EXISTS (SELECT FROM gold.device_health WHERE device_id = name)
        OR EXISTS (SELECT FROM silver.telemetry WHERE device_id = name)
        OR EXISTS (SELECT FROM silver.events WHERE device_id = name)""")
_COUNTED = """
    SELECT error_code, sum(times)::bigint AS times, max(latest) AS latest, count(*) AS devices,
        (array_agg(device_id ORDER BY times DESC, device_id))[1:3] AS named
    FROM (
        SELECT error_code, device_id, count(*) AS times, max(ts) AS latest
        FROM ({}) reported GROUP BY error_code, device_id
    ) by_device
    GROUP BY error_code ORDER BY times DESC, latest DESC"""
_ERRORS = """
    SELECT device_id, ts, type, severity, error_code, message FROM silver.events
    WHERE error_code IS NOT NULL AND ts >= :since AND ts < :until"""
# Spelt as `code_key` has it. Before the limit: else a code that is not among the latest would be none.
_WANTED = r"""(CAST(:keys AS text[]) IS NULL
    OR lower(regexp_replace(error_code, '[-_/\s]', '', 'g')) = ANY(CAST(:keys AS text[])))"""
CODES = text(_COUNTED.format(f"{_ERRORS} AND device_id = :device ORDER BY ts DESC LIMIT :limit"))
_OF_MODELS = "(CAST(:models AS text[]) IS NULL OR model = ANY(CAST(:models AS text[])))"
_BY_MODELS = """(CAST(:models AS text[]) IS NULL OR device_id IN (
    SELECT device_id FROM gold.device_health
    WHERE day = (SELECT max(day) FROM gold.device_health) AND model = ANY(CAST(:models AS text[]))))"""
FLEET_EVENTS = text(f"{_ERRORS} AND {_WANTED} AND {_BY_MODELS} ORDER BY ts DESC LIMIT :limit")
FLEET_CODES = text(_COUNTED.format(FLEET_EVENTS.text))
FLEET_ALERTS = text(f"""
    SELECT device_id, alert_id::text, rule, metric, severity, opened_at, resolved_at FROM silver.alerts
    WHERE opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since) AND {_BY_MODELS}
    ORDER BY resolved_at IS NOT NULL, opened_at DESC LIMIT :limit""")
OPEN_ALERTS = text(f"""
    SELECT count(*) FROM silver.alerts WHERE opened_at < :until AND resolved_at IS NULL AND {_BY_MODELS}""")
ALL = 1_000_000
"""Events of a period that are counted at most, the latest of them."""
BRIEFLY = text("SET LOCAL statement_timeout = '2s'")
"""For what reads the rows of a whole fleet."""
VERSION = text("""
    SELECT (SELECT max(computed_at) FROM gold.device_health),
        (SELECT sum(next_offset) FROM ingest.offsets), (SELECT max(position) FROM ingest.alert_messages)""")
MODELS = text("""
    SELECT DISTINCT model FROM gold.device_health WHERE day = (SELECT max(day) FROM gold.device_health)""")
FLEET = text(f"""
    SELECT h.device_id, h.day, h.model, h.score, (
        SELECT detail FROM gold.device_health_components c
        WHERE (c.tenant_id, c.device_id, c.day) = (h.tenant_id, h.device_id, h.day)
        ORDER BY penalty DESC LIMIT 1) AS detail
    FROM gold.device_health h WHERE day = (SELECT max(day) FROM gold.device_health) AND {_OF_MODELS}
    ORDER BY score, device_id LIMIT :limit""")
SCORES = text(f"""
    SELECT least(width_bucket(score, 0, 100, :bands), :bands) AS band, count(*) AS devices
    FROM gold.device_health WHERE day = (SELECT max(day) FROM gold.device_health) AND {_OF_MODELS}
    GROUP BY band""")
BANDS = 10
MOST_TENANTS, MODELS_TTL_S = 1000, 10
"""Whose models are remembered, and for how long: a million devices have few, which take a second to find."""


class DeviceRecords:
    """Reads health, events and trends; row-level security keeps other tenants' rows out."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._engine = engine(settings)
        self._models: TTLCache[Any, tuple[str, ...]] = TTLCache(MOST_TENANTS, MODELS_TTL_S)
        self._lock = Lock()

    def insights(
        self,
        tenant: Tenant,
        device: str,
        period: Period = EVER,
        *,
        events: int = 20,
        alerts: int = 20,
        trend: int = 72,
    ) -> dict[str, Any] | None:
        """Newest health, components and failure risk; of the period its latest events, alerts (open ones
        first), last readings, and how often it reported which error code: of all time, of late. None for an
        unknown device.

        Of the events of a period those with an error code go before the others: where none is among them, it
        had none.
        """
        with tenant_transaction(self._engine, tenant) as connection:
            key = {"device": device, **asdict(period)}
            chosen = EVENTS if period == EVER else EVENTS_WITHIN
            health = connection.execute(HEALTH, key).mappings().first()
            if health is None and not connection.execute(KNOWN, {"names": [device]}).first():
                return None
            day = {"day": health["day"]} if health else {"day": None}
            return {
                "device_id": device,
                "model": health["model"] if health else None,
                "day": day["day"],
                "score": health["score"] if health else None,
                "components": _rows(connection, COMPONENTS, key | day),
                "risk": _rows(connection, RISK, key | day),
                "events": _rows(connection, chosen, key | {"limit": events}),
                "alerts": _rows(connection, ALERTS, key | {"limit": alerts}),
                "trend": _rows(connection, TREND, key | {"limit": trend}),
                "codes": _rows(connection, CODES, key | {"limit": events if period == EVER else ALL}),
            }

    def known(self, tenant: Tenant, names: Sequence[str]) -> list[str]:
        """Which of the names are devices of the tenant."""
        if not names:
            return []
        with tenant_transaction(self._engine, tenant) as connection:
            return sorted(connection.execute(KNOWN, {"names": [*names]}).scalars())

    def incidents(
        self,
        tenant: Tenant,
        period: Period = EVER,
        codes: Collection[str] = (),
        about: Collection[str] = (),
        *,
        limit: int = 50,
    ) -> dict[str, Any]:
        """The latest events that have an error code, of some codes if any are given, alerts, how many are
        open, and how often which code was reported, of a period; of all time, of late. They are the fleet's,
        or of the devices of those `models` that the code keys `about` name."""
        keys, models = [code_key(code) for code in codes] or None, self.models(tenant, about)
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(BRIEFLY)
            key = {**asdict(period), "keys": keys, "models": models or None, "limit": limit}
            counted = key | {"limit": limit if period == EVER else ALL}
            return {
                "models": models,
                "events": _rows(connection, FLEET_EVENTS, key),
                "alerts": _rows(connection, FLEET_ALERTS, key),
                "open_alerts": connection.execute(OPEN_ALERTS, key).scalar_one(),
                "codes": _rows(connection, FLEET_CODES, counted),
            }

    def fleet(self, tenant: Tenant, about: Collection[str] = (), *, limit: int = 5) -> dict[str, Any]:
        """The health of the newest day, of the `models` that the code keys `about` name, else of all: the
        `worst` devices with the reason that weighs most, and how many are how healthy (`distribution`), in
        equal bands of 0 to 100, the least healthy first."""
        models = self.models(tenant, about)
        with tenant_transaction(self._engine, tenant) as connection:
            key = {"models": models or None, "bands": BANDS, "limit": limit}
            counts = dict.fromkeys(range(1, BANDS + 1), 0)
            counts.update(tuple(row) for row in connection.execute(SCORES, key))
            return {
                "models": models,
                "worst": _rows(connection, FLEET, key),
                "distribution": list(counts.values()),
            }

    def models(self, tenant: Tenant, about: Collection[str]) -> list[str]:
        """The models of the tenant's devices, as they were seconds ago, that are among some code keys."""
        known = self._models_of(tenant) if about else ()
        return [model for model in known if code_key(model) in about]

    @cachedmethod(lambda self: self._models, lock=lambda self: self._lock)
    def _models_of(self, tenant: Tenant) -> tuple[str, ...]:
        with tenant_transaction(self._engine, tenant) as connection:
            return tuple(sorted(filter(None, connection.execute(MODELS).scalars())))

    def version(self, tenant: Tenant) -> str:
        """Changes whenever the tenant's events, alerts or health do."""
        with tenant_transaction(self._engine, tenant) as connection:
            return str(connection.execute(VERSION).one())

    def ping(self) -> None:
        """Raise where the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))


def _rows(connection: Connection, statement: TextClause, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement, values).mappings()]
