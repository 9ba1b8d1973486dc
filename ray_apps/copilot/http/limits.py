"""Who may call the copilot now: a role, room in the replica, and what is left of the tenant's limit."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Annotated, get_args

from fastapi import Depends
from ray.serve.exceptions import BackPressureError

from iotops.auth import Principal
from iotops.bounds import Places, overloaded
from iotops.errors import SnapshotError, TenantError
from iotops.http import ApiError, caller
from iotops.rate_limit import RateLimit, Standing
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant
from iotops.tiers import Call, Policies, Policy, load_tiers
from ray_apps.copilot.evidence.documents import SEARCH_AGAIN_S, UNSEARCHED
from ray_apps.copilot.recording import note

WINDOW_S = 60
logger = logging.getLogger(__name__)
Authenticated = Annotated[Principal, Depends(caller("operator", "analyst", "admin"))]


class Admission:
    """Admits calls to one replica; what is counted of a tenant is counted for all replicas together."""

    def __init__(self, settings: Settings) -> None:
        self._tiers = load_tiers(settings.configs)
        self._policies = Policies(settings.database, self._tiers.default)
        self._rates = {
            call: RateLimit(settings.cache, f"copilot-{call}", WINDOW_S) for call in get_args(Call)
        }
        places = settings.copilot.asks_in_flight
        self._asks = Places("questions", max(1, places // 2), places)
        self._others = Places("calls", places)

    @asynccontextmanager
    async def admitted(self, tenant: Tenant, call: Call) -> AsyncIterator[None]:
        """A call, from its admission to its last byte.

        Raises `ApiError` 403 where there is no such tenant, 503 where this replica has no room, or none for
        more of the tenant's, or one behind it has none, and 429 where the tenant's minute is used up. A call
        that finds no room is not counted.
        """
        with (self._asks if call == "ask" else self._others).of(tenant):
            try:
                policy = await self._policies.of(tenant)
            except TenantError as error:
                raise ApiError(403, "unknown_tenant", str(error)) from None
            note().keep_question = policy.keep_questions
            await self._count(tenant, policy, call)
            try:
                yield
            except (BackPressureError, SnapshotError) as error:
                raise refusal(error) from None

    async def _count(self, tenant: Tenant, policy: Policy, call: Call) -> None:
        limit, rate = self._tiers.limit(policy.tier, call), self._rates[call]
        taken = await rate.take(tenant, 1, limit)
        standing = await rate.standing(tenant, limit)
        note().headers = headers(standing)
        if not taken:
            raise ApiError(
                429,
                "rate_limited",
                f"tenant {tenant.id} has made the {limit} {call} calls a minute of its tier {policy.tier}: "
                f"try again in {standing.wait_s} s",
                retry_after_s=standing.wait_s,
            )


def headers(standing: Standing) -> dict[str, str]:
    """Those of draft-ietf-httpapi-ratelimit-headers-07; `RateLimit-Reset`: seconds until more is free."""
    return {
        "RateLimit-Limit": str(standing.limit),
        "RateLimit-Remaining": str(standing.remaining),
        "RateLimit-Reset": str(standing.wait_s),
    }


@lru_cache(maxsize=1)
def admission() -> Admission:
    """The process's own."""
    return Admission(get_settings())


def admitted(
    call: Call, admission: Callable[[], Admission] = admission
) -> Callable[[Principal], AsyncIterator[Principal]]:
    """A dependency: the verified caller of an admitted call, which holds its place until its last byte."""

    async def admit(principal: Authenticated) -> AsyncIterator[Principal]:
        async with admission().admitted(principal.tenant, call):
            yield principal

    return admit


def refusal(error: Exception) -> Exception:
    """An error as a caller is told of it: that a part of the copilot is too busy, or that an index is not to
    be had now, is no failure of it."""
    if isinstance(error, BackPressureError):
        return overloaded("a part of the copilot has no room for more")
    if isinstance(error, SnapshotError):
        logger.error("the documents cannot be searched: %s", error)
        return ApiError(503, "search_unavailable", UNSEARCHED, retry_after_s=SEARCH_AGAIN_S)
    return error
