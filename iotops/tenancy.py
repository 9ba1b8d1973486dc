"""What a tenant's things are called: the one place that turns a tenant id into names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iotops.errors import TenantError

TENANT_ID = re.compile(r"[a-z][a-z0-9_]{1,30}")
RESERVED = frozenset({"shared", "public", "iceberg", "gold", "silver", "platform"})
SHARED_PREFIX = "shared"
WRITTEN_BY_TENANTS = ("documents", "evaluation", "exports")
"""The areas of its lake prefix that a tenant's own storage key writes to; it reads the others."""
TOPIC_KINDS = ("telemetry", "events", "alerts", "deadletter")


@dataclass(frozen=True)
class Tenant:
    """A customer of the platform, named by an id such as `acme`.

    Raises `TenantError` where the id is not 2-31 characters of a-z, 0-9 and `_` that begin with a letter,
    because the id becomes a topic suffix, a lake prefix, an Iceberg namespace and a database role.
    """

    id: str

    def __post_init__(self) -> None:
        if not TENANT_ID.fullmatch(self.id) or self.id in RESERVED:
            raise TenantError(
                f"tenant id {self.id!r} is refused: use 2 to 31 of a-z, 0-9 and '_', beginning with a "
                f"letter, and none of {', '.join(sorted(RESERVED))}"
            )

    @property
    def telemetry_topic(self) -> str:
        """Kafka topic of readings, keyed by device."""
        return f"telemetry_{self.id}"

    @property
    def events_topic(self) -> str:
        """Kafka topic of events, keyed by device."""
        return f"events_{self.id}"

    @property
    def alerts_topic(self) -> str:
        """Kafka topic of alerts, keyed by device."""
        return f"alerts_{self.id}"

    @property
    def deadletter_topic(self) -> str:
        """Kafka topic of records that a gateway refused, with the reason."""
        return f"deadletter_{self.id}"

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics of the tenant."""
        return self.telemetry_topic, self.events_topic, self.alerts_topic, self.deadletter_topic

    @property
    def database_role(self) -> str:
        """Postgres role with which the tenant's analysts log in; row security ties it to the tenant."""
        return f"tenant_{self.id}"

    @property
    def storage_identity(self) -> str:
        """Name of the object-store identity that reaches this tenant's prefix only."""
        return f"tenant-{self.id}"

    def prefix(self, area: str) -> str:
        """Lake prefix of an area without the bucket.

        Areas: `bronze`, `silver`, `documents`, `indexes`, `rerankers`, `evaluation`, `exports`, `reports`,
        `deadletter`, `alerting`.
        """
        return f"{self.id}/{area}"


def tenant_of_topic(topic: str) -> Tenant:
    """The tenant that a `telemetry_`, `events_`, `alerts_` or `deadletter_` topic belongs to."""
    kind, _, tenant = topic.partition("_")
    if kind not in TOPIC_KINDS:
        expected = ", ".join(f"{kind}_" for kind in TOPIC_KINDS)
        raise TenantError(f"topic {topic!r} belongs to no tenant: expected one of {expected}")
    return Tenant(tenant)


def unknown_tenant(tenant: Tenant) -> TenantError:
    """Says that there is no such tenant, and where to see those that there are."""
    return TenantError(f"there is no tenant {tenant.id!r}; `iotops tenant list` shows all")
