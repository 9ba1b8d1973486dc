"""How many records a tenant may send, counted for all gateways together."""

from __future__ import annotations

from iotops.rate_limit import RateLimit
from iotops.settings import Settings
from iotops.tenancy import Tenant

WINDOW_S = 10


class Quota:
    """A tenant's records over a sliding window; `burst` is how many it may send at once."""

    def __init__(self, settings: Settings) -> None:
        self.burst = settings.ingest.tenant_records_per_s * WINDOW_S
        self._rate = RateLimit(settings.cache, "ingest", WINDOW_S)

    async def take(self, tenant: Tenant, records: int) -> int:
        """Count records, at most `burst`; where there is no room none is counted, and these are the seconds
        until there is."""
        if await self._rate.take(tenant, records, self.burst):
            return 0
        return (await self._rate.standing(tenant, self.burst, records)).wait_s
