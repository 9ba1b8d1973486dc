"""The HTTP gateway: devices post NDJSON batches, Kafka keeps them. A Serve application of its own."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from ray import serve
from ray.serve import Application

from iotops.auth import Principal
from iotops.http import ApiError, caller, install
from iotops.kafka import KafkaUnavailable, open_producer
from iotops.metrics import INGEST_REJECTED
from iotops.records import Contract, Event, Reading, parse_batch
from iotops.settings import get_settings

MAX_REPORTED_REJECTIONS = 100

app = FastAPI(
    title="IoT Ops Copilot: device gateway", version="1", docs_url="/docs", openapi_url="/openapi.json"
)
install(app)


# A device speaks for itself only; an admin's token may carry the readings of its tenant's whole fleet.
Sender = Annotated[Principal, Depends(caller("device", "admin"))]


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body; refused as soon as it grows past the limit, before it fills the memory."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise ApiError(413, "too_large", f"the body is larger than {limit} bytes: send smaller batches")
    return bytes(body)


# Serve keeps the routes as they are when the class is decorated: what they call must stand above it.
@serve.deployment
@serve.ingress(app)
class Gateway:
    """Validates batches line by line and answers when Kafka has acknowledged every accepted record."""

    def __init__(self) -> None:
        self._settings = get_settings()
        self._producer = open_producer(self._settings.kafka)

    @app.post("/telemetry", status_code=202, summary="Send readings")
    async def telemetry(self, request: Request, principal: Sender) -> dict[str, Any]:
        """Take one reading or an NDJSON batch of them; 202 with counts and the per-line errors."""
        return await self._take(request, principal, Reading, principal.tenant.telemetry_topic)

    @app.post("/events", status_code=202, summary="Send events")
    async def events(self, request: Request, principal: Sender) -> dict[str, Any]:
        """Take one event or an NDJSON batch of them; 202 with counts and the per-line errors."""
        return await self._take(request, principal, Event, principal.tenant.events_topic)

    @app.get("/healthz")
    async def healthz(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    async def _take(
        self, request: Request, principal: Principal, contract: Contract, topic: str
    ) -> dict[str, Any]:
        limits = self._settings.ingest
        body = await read_body(request, limits.max_body_bytes)
        parsed = parse_batch(
            body.split(b"\n"),
            contract,
            tenant_id=principal.tenant.id,
            device_id=principal.subject if principal.role == "device" else None,
            max_line_bytes=limits.max_line_bytes,
            max_future_s=limits.max_future_s,
        )
        if parsed.accepted:
            try:
                await asyncio.to_thread(self._producer.send_all, topic, parsed.accepted)
            except KafkaUnavailable as error:
                raise ApiError(
                    503, "broker_unavailable", f"{error}; nothing was accepted: send it again"
                ) from None
        for rejection in parsed.rejected:
            INGEST_REJECTED.inc(tags={"topic": topic, "code": rejection.code})
        return {
            "accepted": len(parsed.accepted),
            "rejected": len(parsed.rejected),
            "errors": [
                {"line": rejection.line, "code": rejection.code, "message": rejection.message}
                for rejection in parsed.rejected[:MAX_REPORTED_REJECTIONS]
            ],
        }


def build(args: dict[str, Any]) -> Application:
    """The gateway's Serve application, for `configs/serve.yaml`."""
    return Gateway.bind()
