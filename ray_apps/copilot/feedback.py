"""What people think of the answers: a thumb up or down on a request that asked."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from iotops.audit import FLUSH_EVERY_S
from iotops.auth import Principal
from iotops.database import serving_engine, tenant_transaction
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import FeedbackRequest

ASKED = text("""
    SELECT EXISTS (SELECT FROM platform.audit_log
        WHERE request_id = :request AND outcome = 'done'
        AND action IN ('POST /ask', 'POST /v1/chat/completions'))""")
KEEP = text("""
    INSERT INTO platform.feedback (tenant_id, request_id, subject, thumbs_up, reason, given_at)
    VALUES (:tenant, :request, :subject, :up, :reason, now())
    ON CONFLICT (tenant_id, request_id, subject) DO UPDATE
    SET thumbs_up = excluded.thumbs_up, reason = excluded.reason, given_at = excluded.given_at""")


class Feedback:
    """Keeps one word of each user on each answer of the tenant's; a second replaces the first."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._engine = serving_engine(settings)

    async def keep(self, principal: Principal, given: FeedbackRequest) -> bool:
        """Keep it; False where the audit knows no such answer of the tenant's.

        Its row may still wait at the replica that gave it: what is not there is looked for once more.
        """
        for wait_s in (0.0, 2 * FLUSH_EVERY_S):
            await asyncio.sleep(wait_s)
            if await asyncio.to_thread(self._asked, principal.tenant, given.request_id):
                await asyncio.to_thread(self._write, principal, given)
                return True
        return False

    def _asked(self, tenant: Tenant, request_id: str) -> bool:
        with tenant_transaction(self._engine, tenant) as connection:
            return bool(connection.execute(ASKED, {"request": request_id}).scalar_one())

    def _write(self, principal: Principal, given: FeedbackRequest) -> None:
        row = {
            "tenant": principal.tenant.id,
            "request": given.request_id,
            "subject": principal.subject,
            "up": given.rating == "up",
            "reason": given.reason,
        }
        with tenant_transaction(self._engine, principal.tenant) as connection:
            connection.execute(KEEP, row)
