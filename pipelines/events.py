"""What happens to the data, told to Prefect as events; `prefect.yaml` has the flows that they start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from iotops.settings import PrefectSettings

TIMEOUT_S = 3.0


def bronze_hour(settings: PrefectSettings, tenant_id: str, hour: datetime) -> None:
    """A tenant's first object of an arrival hour (UTC) is stored; raises `httpx.HTTPError`."""
    _emit(settings, "iotops.bronze.hour", f"iotops.bronze.{tenant_id}", tenant_id, hour=hour.isoformat())


def documents_changed(settings: PrefectSettings, owner: str) -> None:
    """Documents on a tenant's shelf, or on `shared`, are not what is indexed; raises `httpx.HTTPError`."""
    _emit(settings, "iotops.documents.changed", f"iotops.documents.{owner}", owner)


def _emit(settings: PrefectSettings, name: str, resource: str, tenant_id: str, **more: Any) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": {"prefect.resource.id": resource, "prefect.resource.name": tenant_id},
        "payload": {"tenant": tenant_id, **more},
    }
    httpx.post(f"{settings.api_url}/events", json=[event], timeout=TIMEOUT_S).raise_for_status()
