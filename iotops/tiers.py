"""Tiers: what a tenant may use, by `configs/tiers.yaml`, and which tier and policy each tenant has."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Engine, Row, text
from sqlalchemy.exc import SQLAlchemyError

from iotops.configs import read_config
from iotops.database import engine, serving_engine, tenant_transaction
from iotops.errors import TenantError
from iotops.settings import DatabaseSettings, Settings
from iotops.tenancy import Tenant, unknown_tenant

Call = Literal["ask", "search", "read"]
"""What is limited by itself: a kind of call to the copilot."""
KNOWN_FOR_S = 30.0
"""A changed policy is in force on every replica after so long."""
POLICY = text("SELECT tier, keep_questions FROM platform.tenants WHERE tenant_id = :tenant")
CHANGE = text("""
    UPDATE platform.tenants SET tier = coalesce(:tier, tier),
        keep_questions = coalesce(:keep_questions, keep_questions)
    WHERE tenant_id = :tenant RETURNING tier, keep_questions""")
logger = logging.getLogger(__name__)


class Tiers(BaseModel):
    """The content of `configs/tiers.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str = Field(description="Tier of a tenant that is in none.")
    tiers: dict[str, dict[Call, Annotated[int, Field(ge=1)]]] = Field(
        description="Calls per minute by kind, by tier."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.default not in self.tiers:
            raise ValueError(f"the default tier {self.default!r} is not among the tiers")
        for name, limits in self.tiers.items():
            if missing := set(get_args(Call)) - limits.keys():
                raise ValueError(f"tier {name!r} says nothing of {', '.join(sorted(missing))}")
        return self

    def limit(self, tier: str, call: Call) -> int:
        """Calls per minute; those of the default for a tier that is not in the file any more."""
        return self.tiers.get(tier, self.tiers[self.default])[call]

    def known(self, tier: str) -> str:
        """The tier's name; raises `TenantError` where there is none."""
        if tier not in self.tiers:
            raise TenantError(f"there is no tier {tier!r}; configs/tiers.yaml has: {', '.join(self.tiers)}")
        return tier


@dataclass(frozen=True)
class Policy:
    """What was agreed with a tenant."""

    tier: str
    keep_questions: bool = False
    """Whether the audit keeps the text of its questions."""


class Policies:
    """The policies of tenants, as the application sees them; each is read every 30 s at most."""

    def __init__(self, settings: DatabaseSettings, default: str) -> None:
        self._engine = serving_engine(settings)
        self._default = Policy(default)
        self._known: dict[Tenant, tuple[float, Policy]] = {}
        self._first: dict[Tenant, asyncio.Task[Policy]] = {}

    async def of(self, tenant: Tenant) -> Policy:
        """A tenant's policy; the last one known, or the default, where the database does not answer.

        Raises `TenantError` where there is no such tenant.
        """
        if tenant not in self._known:  # all who come meanwhile wait for the same reading
            if tenant not in self._first:
                self._first[tenant] = asyncio.create_task(self._ask(tenant, self._default))
                self._first[tenant].add_done_callback(lambda _: self._first.pop(tenant))
            return await asyncio.shield(self._first[tenant])
        until, last = self._known[tenant]
        if time.monotonic() < until:
            return last
        self._keep(tenant, last)  # who comes meanwhile does not ask too
        return await self._ask(tenant, last)

    async def _ask(self, tenant: Tenant, last: Policy) -> Policy:
        try:
            found = _existing(tenant, await asyncio.to_thread(_read, self._engine, tenant, self._default))
        except TenantError:
            self._known.pop(tenant, None)
            raise
        except SQLAlchemyError as error:
            logger.warning("the policy of %s is not to be had, using %s: %r", tenant.id, last, error)
            found = last
        return self._keep(tenant, found)

    def _keep(self, tenant: Tenant, policy: Policy) -> Policy:
        self._known[tenant] = time.monotonic() + KNOWN_FOR_S, policy
        return policy


def load_tiers(configs: Path) -> Tiers:
    """Read `tiers.yaml`; raises `SettingsError` naming what is wrong."""
    return read_config(configs / "tiers.yaml", Tiers)


def tenant_policy(settings: Settings, tenant: Tenant) -> Policy:
    """A tenant's policy; raises `TenantError` where there is no such tenant."""
    default = Policy(load_tiers(settings.configs).default)
    return _existing(tenant, _read(engine(settings.database), tenant, default))


def change_policy(
    settings: Settings, tenant: Tenant, tier: str | None = None, keep_questions: bool | None = None
) -> Policy:
    """Change what is given of a tenant's policy, and return it whole.

    Raises `TenantError` where there is no such tenant or tier.
    """
    tiers = load_tiers(settings.configs)
    if tier is not None:
        tiers.known(tier)
    changed = {"tenant": tenant.id, "tier": tier, "keep_questions": keep_questions}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return _existing(tenant, _policy(connection.execute(CHANGE, changed).first(), Policy(tiers.default)))


def _read(engine: Engine, tenant: Tenant, default: Policy) -> Policy | None:
    with tenant_transaction(engine, tenant) as connection:
        return _policy(connection.execute(POLICY, {"tenant": tenant.id}).first(), default)


def _policy(row: Row[Any] | None, default: Policy) -> Policy | None:
    return Policy(row.tier or default.tier, row.keep_questions) if row else None


def _existing(tenant: Tenant, policy: Policy | None) -> Policy:
    if policy is None:
        raise unknown_tenant(tenant)
    return policy
