"""Asking the served graph as somebody."""

from __future__ import annotations

from typing import Any

import httpx

from iotops.auth import Role, issue_token
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import TENANT


def bearer(
    settings: Settings, tenant: Tenant = TENANT, role: Role = "operator", subject: str = "o"
) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings.auth, tenant, subject, role)}"}


def ask(api: httpx.Client, settings: Settings, question: str, tenant: Tenant = TENANT) -> dict[str, Any]:
    response = api.post("/ask", json={"question": question}, headers=bearer(settings, tenant))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
