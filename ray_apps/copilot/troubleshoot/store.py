"""Guides under way, kept in the database so that any replica can go on with them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import text

from iotops.database import serving_engine, tenant_transaction
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.troubleshoot.contracts import Guide

KEEP = text("""
    INSERT INTO copilot.guides (tenant_id, guide_id, device_id, opened_by, guide)
    VALUES (:tenant, :id, :device, :user, cast(:guide AS jsonb))""")
FIND = text("SELECT guide FROM copilot.guides WHERE guide_id = :id")
LOCK = text("SELECT guide FROM copilot.guides WHERE guide_id = :id FOR UPDATE")
CHANGE = text("""
    UPDATE copilot.guides SET guide = cast(:guide AS jsonb), changed_at = clock_timestamp()
    WHERE guide_id = :id""")


class Guides:
    """Guides by id; row-level security keeps other tenants' out."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._engine = serving_engine(settings)

    def keep(self, tenant: Tenant, user: str, guide: Guide) -> None:
        """Store a new guide."""
        row = {"tenant": tenant.id, "id": guide.id, "device": guide.device_id, "user": user}
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(KEEP, row | {"guide": guide.model_dump_json()})

    def find(self, tenant: Tenant, guide_id: uuid.UUID) -> Guide | None:
        """A guide as it stands; None where the tenant has none of that id."""
        with tenant_transaction(self._engine, tenant) as connection:
            found = connection.execute(FIND, {"id": str(guide_id)}).scalar()
        return Guide.model_validate(found) if found else None

    def change(self, tenant: Tenant, guide_id: uuid.UUID, change: Callable[[Guide], Guide]) -> Guide | None:
        """Replace a guide by what becomes of it, one change at a time; None where there is none."""
        with tenant_transaction(self._engine, tenant) as connection:
            found = connection.execute(LOCK, {"id": str(guide_id)}).scalar()
            if not found:
                return None
            changed = change(Guide.model_validate(found))
            connection.execute(CHANGE, {"id": str(guide_id), "guide": changed.model_dump_json()})
        return changed
