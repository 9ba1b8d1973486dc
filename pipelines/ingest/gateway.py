"""The HTTP gateway: devices post NDJSON batches, Kafka keeps them. A Serve application of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import Depends, Request
from ray import serve
from ray.serve import Application

from iotops.auth import Principal
from iotops.bounds import Places
from iotops.errors import TenantError
from iotops.http import ApiError, Front, caller, install
from iotops.kafka import KafkaUnavailable
from iotops.records import Parsed
from iotops.settings import get_settings
from iotops.tenancy import Tenant
from pipelines.ingest import contracts
from pipelines.ingest.body import read_body
from pipelines.ingest.contracts import LineError, Taken
from pipelines.ingest.deadletter import Kind
from pipelines.ingest.intake import Intake, Sent
from pipelines.ingest.quota import Quota

RETRY_AFTER_S = 2
CONCURRENT = 64  # as many as `max_ongoing_requests` lets in; nearly all of each waits for Kafka
LINGER_MS = 50  # what senders post within it goes to Kafka in one request
MAX_REPORTED_REJECTIONS = 100

# Served at a prefix for each call; the paths here are those below /v1, whichever of them Serve says.
app = Front(
    title="IoT Ops Copilot: device gateway",
    version="1",
    root_path="/v1",
    docs_path="/telemetry/docs",
    openapi_url="/telemetry/openapi.json",
)
install(app)


# A device speaks for itself only; an admin's token may carry the readings of its tenant's whole fleet.
Sender = Annotated[Principal, Depends(caller("device", "admin"))]


# Serve keeps the routes as they are when the class is decorated: what they call must stand above it.
@serve.deployment
@serve.ingress(app)
class Gateway:
    """Validates batches line by line and answers when Kafka has acknowledged every accepted record."""

    def __init__(self) -> None:
        settings = get_settings()
        self._limits = settings.ingest
        self._intake = Intake(settings, "http", linger_ms=LINGER_MS)
        self._places = Places("batches", CONCURRENT // 2)
        self._threads = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="accept")
        self._quota = Quota(settings)

    @app.post(
        "/telemetry",
        status_code=202,
        summary="Send readings",
        responses=contracts.RESPONSES,
        openapi_extra=contracts.READINGS,
    )
    async def telemetry(self, request: Request, principal: Sender) -> Taken:
        """Take one reading or an NDJSON batch of them; 202 with counts and the per-line errors."""
        return await self._take(request, principal, "telemetry")

    @app.post(
        "/events",
        status_code=202,
        summary="Send events",
        responses=contracts.RESPONSES,
        openapi_extra=contracts.EVENTS,
    )
    async def events(self, request: Request, principal: Sender) -> Taken:
        """Take one event or an NDJSON batch of them; 202 with counts and the per-line errors."""
        return await self._take(request, principal, "events")

    @app.get("/telemetry/healthz", summary="The process answers", responses=contracts.HEALTHY)
    async def healthz(self) -> dict[str, str]:
        """Liveness: says nothing of Kafka."""
        return {"status": "ok"}

    async def _take(self, request: Request, principal: Principal, kind: Kind) -> Taken:
        with self._places.of(principal.tenant):
            lines = (await read_body(request, self._limits.max_body_bytes)).split(b"\n")
            await self._admit(principal.tenant, len(lines))
            device_id = principal.subject if principal.role == "device" else None
            parsed = await self._stored(Sent(principal.tenant, kind, device_id, lines))
        return Taken(
            accepted=len(parsed.accepted),
            rejected=len(parsed.rejected),
            errors=[
                LineError(line=rejection.line, code=rejection.code, message=rejection.message)
                for rejection in parsed.rejected[:MAX_REPORTED_REJECTIONS]
            ],
        )

    async def _stored(self, sent: Sent) -> Parsed:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._accept, sent)
        except TenantError as error:
            raise ApiError(403, "unknown_tenant", str(error)) from None
        except KafkaUnavailable as error:
            raise ApiError(
                503,
                "broker_unavailable",
                f"{error}; nothing was accepted: send it again",
                retry_after_s=RETRY_AFTER_S,
            ) from None

    def _accept(self, sent: Sent) -> Parsed:
        self._intake.require(sent.tenant)
        [parsed] = self._intake.take([sent])
        return parsed

    async def _admit(self, tenant: Tenant, records: int) -> None:
        """Refuse a tenant's batch where its quota is used up for now."""
        if records > (burst := self._quota.burst):
            raise ApiError(413, "too_large", f"{records} records in one batch; a tenant may send {burst}")
        if wait_s := await self._quota.take(tenant, records):
            raise ApiError(
                429,
                "rate_limited",
                f"tenant {tenant.id} sends more than {self._limits.tenant_records_per_s} records/s: "
                f"send this again in {wait_s} s",
                retry_after_s=wait_s,
            )


def build(args: dict[str, Any]) -> Application:
    """The gateway's Serve application, for `configs/serve.yaml`."""
    return Gateway.bind()
