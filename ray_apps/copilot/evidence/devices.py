"""What the database knows about a device, always as one tenant."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from cachetools import TTLCache, cachedmethod
from sqlalchemy import Connection, TextClause, text

from indexes.codes import code_key, singular
from iotops.database import serving_engine, tenant_transaction
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.evidence import devices_sql as sql
from ray_apps.copilot.question.conditions import Condition
from ray_apps.copilot.question.lacking import Lack
from ray_apps.copilot.question.leaving_out import LeftOut
from ray_apps.copilot.question.naming import NUMBERED
from ray_apps.copilot.question.period import EVER, Period

ALL = 1_000_000
"""Events of a period that are counted at most, the latest of them."""
RECENT = timedelta(hours=24)
LATEST, LATEST_READINGS, FLEET_LATEST = 20, 72, 50
BANDS = 10
LONG_CODE = re.compile(r"\d\d")
MOST_TENANTS, MODELS_TTL_S = 1000, 10
"""Whose models are remembered, and for how long: a million devices have few, which take a second to find."""


@dataclass(frozen=True)
class Scope:
    """Which devices of the fleet are asked for, and which codes: all but `other_codes`."""

    models: list[str]
    """Of these models, or of all where it is empty."""
    other_models: list[str] = field(default_factory=list)
    other_devices: list[str] = field(default_factory=list)
    """But those of `other_models`, and `other_devices`."""
    without_codes: list[str] = field(default_factory=list)
    """But those that reported one of these in the time asked for."""
    other_codes: list[str] = field(default_factory=list)

    @property
    def values(self) -> dict[str, list[str] | None]:
        """For the database, to which a code is its key."""
        codes = {
            name: [*map(code_key, map(singular, getattr(self, name)))]
            for name in ("without_codes", "other_codes")
        }
        return {name: each or None for name, each in (asdict(self) | codes).items()}


class DeviceRecords:
    """Reads health, events and trends; row-level security keeps other tenants' rows out."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._engine = serving_engine(settings)
        self._models: TTLCache[Any, tuple[str, ...]] = TTLCache(MOST_TENANTS, MODELS_TTL_S)
        self._lock = Lock()

    def insights(
        self,
        tenant: Tenant,
        device: str,
        period: Period = EVER,
        codes: Sequence[str] = (),
    ) -> dict[str, Any] | None:
        """Health of the newest day up to the period's end, its components and failure risk; of the period the
        device's latest events, alerts (open ones first) and how many of them are open, or were in the period
        (`open_alerts`), and were resolved (`resolved_alerts`), last readings, and how often it reported which
        error code: of all time, of late; which in the last day that it has records of (`recent_codes`); and
        how often each of some `codes` (`asked_codes`). None for an unknown device.

        Of the events of a period those with an error code go before the others: where none is among them, it
        had none.
        """
        with tenant_transaction(self._engine, tenant) as connection:
            key = {"device": device, **asdict(period)}
            chosen = sql.EVENTS if period == EVER else sql.EVENTS_WITHIN
            counting = sql.DEVICE_OPEN_ALERTS if period == EVER else sql.DEVICE_ALERTS_WITHIN
            health = connection.execute(sql.HEALTH, key).mappings().first()
            if health is None and not connection.execute(sql.KNOWN, {"names": [device]}).first():
                return None
            day = {"day": health["day"]} if health else {"day": None}
            newest = connection.execute(sql.NEWEST, key).scalar_one() or datetime.now(UTC)
            lately = key | {"since": newest - RECENT, "until": EVER.until, "limit": ALL}
            return {
                "device_id": device,
                "model": health["model"] if health else None,
                "day": day["day"],
                "score": health["score"] if health else None,
                "components": _rows(connection, sql.COMPONENTS, key | day),
                "risk": _rows(connection, sql.RISK, key | day),
                "events": _rows(connection, chosen, key | {"limit": LATEST}),
                "alerts": _rows(connection, sql.ALERTS, key | {"limit": LATEST}),
                "open_alerts": connection.execute(counting, key).scalar_one(),
                "resolved_alerts": connection.execute(sql.DEVICE_RESOLVED_ALERTS, key).scalar_one(),
                "trend": _rows(connection, sql.TREND, key | {"limit": LATEST_READINGS}),
                "codes": _rows(connection, sql.CODES, key | {"limit": LATEST if period == EVER else ALL}),
                "recent_codes": _rows(connection, sql.CODES, lately),
                "asked_codes": self._counted(connection, tenant, key, codes),
            }

    def _counted(
        self, connection: Connection, tenant: Tenant, key: dict[str, Any], codes: Sequence[str]
    ) -> list[dict[str, Any]]:
        """How often a device reported each of some codes in a period, as they are spelt; 0 times too, unless
        that may be the name of a part (`V2`), or is formed like that of a model or like the device's own."""
        if not codes:
            return []
        wanted = {code_key(code): code for code in codes}
        found = {
            code_key(row["error_code"]): row
            for row in _rows(connection, sql.ASKED_CODES, key | {"keys": [*wanted]})
        }
        models = {_letters(code_key(model)) for model in self._models_of(tenant)}
        own, never = _letters(key["device"].lower()), {"times": 0, "latest": None}

        def may_be_no_code(each: str) -> bool:
            alike = _letters(each) in models or _letters(wanted[each].lower()) == own
            return alike or not LONG_CODE.search(each)

        return [
            {**found.get(each, never), "error_code": spelt}
            for each, spelt in wanted.items()
            if each in found or not may_be_no_code(each)
        ]

    def known(self, tenant: Tenant, names: Collection[str]) -> list[str]:
        """The devices of the tenant that have one of the names, in this case, lower, upper or title."""
        if not names:
            return []
        spelt = {form for name in names for form in (name, name.lower(), name.upper(), name.title())}
        with tenant_transaction(self._engine, tenant) as connection:
            return sorted(connection.execute(sql.KNOWN, {"names": [*spelt]}).scalars())

    def reported(self, tenant: Tenant, codes: Collection[str]) -> set[str]:
        """Keys of those codes that some device of the tenant ever reported."""
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(sql.BRIEFLY)
            return set(connection.execute(sql.REPORTED, {"keys": [*map(code_key, codes)]}).scalars())

    def incidents(
        self,
        tenant: Tenant,
        period: Period = EVER,
        codes: Collection[str] = (),
        about: Collection[str] = (),
        left_out: LeftOut = LeftOut(),
        resolved: bool = False,
    ) -> dict[str, Any]:
        """The latest events that have an error code, of some codes if any are given, alerts, how many are
        open, or were in the period, and how often which code was reported, of a period; of all time, of late.
        The alerts may be those alone that were `resolved` in it, the last first, and are counted as such.
        They are the fleet's, or of the devices of those models that the code keys `about` name, without what
        is `left_out`: see `Scope`."""
        keys, scope = [code_key(code) for code in codes] or None, self.scope(tenant, about, left_out)
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(sql.BRIEFLY)
            key = {**asdict(period), **scope.values, "keys": keys, "limit": FLEET_LATEST}
            still = sql.OPEN_ALERTS if period == EVER else sql.ALERTS_WITHIN
            counting = sql.RESOLVED_ALERTS if resolved else still
            counted = key | {"limit": FLEET_LATEST if period == EVER else ALL}
            return {
                **asdict(scope),
                "events": _rows(connection, sql.FLEET_EVENTS, key),
                "alerts": _rows(connection, sql.FLEET_RESOLVED if resolved else sql.FLEET_ALERTS, key),
                f"{'resolved' if resolved else 'open'}_alerts": connection.execute(
                    counting, key
                ).scalar_one(),
                "codes": _rows(connection, sql.FLEET_CODES, counted),
            }

    def lacking(
        self,
        tenant: Tenant,
        lack: Lack,
        period: Period | None,
        codes: Collection[str] = (),
        about: Collection[str] = (),
        left_out: LeftOut = LeftOut(),
    ) -> dict[str, Any]:
        """How many `devices` there are with a health score, of those models that the code keys `about` name
        or of all, without those `left_out`, how many of them are `spared`, and the first of these (`named`):
        devices that in a period sent no reading (the longest silent first, `latest` has their last readings
        before it), or reported none of some codes, or no error code at all, or had no alert open; of alerts
        without a period, now."""
        scope, keys = self.scope(tenant, about, left_out), [code_key(code) for code in codes]
        key = {**asdict(period or EVER), **scope.values, "keys": keys or None}
        chosen = {
            "errors": sql.WITHOUT_ERRORS,
            "alerts": sql.WITHOUT_ALERTS if period else sql.WITHOUT_OPEN_ALERTS,
            "readings": sql.WITHOUT_READINGS,
        }
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(sql.BRIEFLY)
            return {**asdict(scope), **connection.execute(chosen[lack], key).mappings().one()}

    def meeting(
        self,
        tenant: Tenant,
        conditions: Sequence[Condition],
        period: Period = EVER,
        about: Collection[str] = (),
        left_out: LeftOut = LeftOut(),
    ) -> dict[str, Any]:
        """How many `devices` there are as `lacking` counts them, how many of them meet all of some conditions
        (`met`), and the first of these, the least healthy first (`named`), with their `scores` of the newest
        `day`, up to the end of the time that a score is asked for. Those `left_out` are so by the period."""
        scope = self.scope(tenant, about, left_out)
        scored = next((each.period for each in conditions if each.of == "score" and each.period), EVER)
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(sql.BRIEFLY)
            day = connection.execute(sql.DAY, asdict(scored)).scalar_one()
            key = {**asdict(period), **scope.values, **sql.values(conditions), "day": day}
            found = connection.execute(sql.meeting(conditions), key).mappings().one()
            return {**asdict(scope), "day": day, **found}

    def fleet(
        self,
        tenant: Tenant,
        about: Collection[str] = (),
        period: Period = EVER,
        left_out: LeftOut = LeftOut(),
        best: bool = False,
        *,
        limit: int = 5,
    ) -> dict[str, Any]:
        """The health of the newest `day` up to a period's end, of the models that the code keys `about` name,
        else of all, without the devices `left_out`: the `worst` devices, or the `best`, with the reason that
        weighs most, and how many are how healthy (`distribution`), in equal bands of 0 to 100, the least
        healthy first."""
        scope = self.scope(tenant, about, left_out)
        with tenant_transaction(self._engine, tenant) as connection:
            day = connection.execute(sql.DAY, asdict(period)).scalar_one()
            key = {**asdict(period), **scope.values, "day": day, "bands": BANDS, "limit": limit}
            counts = dict.fromkeys(range(1, BANDS + 1), 0)
            counts.update(tuple(row) for row in connection.execute(sql.SCORES, key))
            return {
                **asdict(scope),
                "day": day,
                "best" if best else "worst": _rows(connection, sql.HEALTHIEST if best else sql.FLEET, key),
                "distribution": list(counts.values()),
            }

    def scope(self, tenant: Tenant, about: Collection[str], left_out: LeftOut) -> Scope:
        """The devices that are asked for: of models that code keys name, without those left out."""
        named = {code_key(singular(name)): name for name in (*left_out.others, *left_out.lacking)}
        if not named:
            return Scope(self.models(tenant, about))
        devices = self.known(tenant, [*named.values()])
        models = self.models(tenant, named.keys())
        known = {*map(code_key, (*devices, *models))}
        codes = {
            key: name for key, name in named.items() if key not in known and not NUMBERED.fullmatch(name)
        }
        lacking = [name for name in left_out.lacking if code_key(singular(name)) in codes]
        others = [name for name in codes.values() if name not in lacking]
        return Scope(self.models(tenant, about), models, devices, lacking, others)

    def models(self, tenant: Tenant, about: Collection[str]) -> list[str]:
        """The models of the tenant's devices, as they were seconds ago, that are among some code keys."""
        known = self._models_of(tenant) if about else ()
        return [model for model in known if code_key(model) in about]

    @cachedmethod(lambda self: self._models, lock=lambda self: self._lock)
    def _models_of(self, tenant: Tenant) -> tuple[str, ...]:
        with tenant_transaction(self._engine, tenant) as connection:
            return tuple(sorted(filter(None, connection.execute(sql.MODELS).scalars())))

    def version(self, tenant: Tenant) -> str:
        """Changes whenever the tenant's events, alerts or health do."""
        with tenant_transaction(self._engine, tenant) as connection:
            return str(connection.execute(sql.VERSION).one())

    def ping(self) -> None:
        """Raise where the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))


def _letters(code: str) -> str:
    """What a code begins with, before its digits."""
    return re.split(r"\d", code, maxsplit=1)[0]


def _rows(connection: Connection, statement: TextClause, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement, values).mappings()]
