"""Engines: what every one of them must be, without a database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from iotops.audit import AuditTrail, Entry
from iotops.auth import Principal
from iotops.database import engine
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from iotops.tiers import Policies
from ray_apps.copilot.contracts import FeedbackRequest
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.feedback import Feedback
from ray_apps.copilot.troubleshoot.store import Guides

ACME = Tenant("acme")
AWAY = DatabaseSettings(host="127.0.0.1", port=9, password=SecretStr("x" * 20))


@pytest.mark.parametrize("as_owner", [False, True])
def test_no_error_tells_what_was_looked_for(as_owner: bool) -> None:
    assert engine(DatabaseSettings(), as_owner=as_owner).hide_parameters


@pytest.fixture
def connecting() -> Iterator[list[dict[str, Any]]]:
    """What each connection that is begun asks of the driver."""
    begun: list[dict[str, Any]] = []

    def begin(dialect: object, record: object, given: object, options: dict[str, Any]) -> None:
        begun.append(options)

    event.listen(Engine, "do_connect", begin)
    yield begun
    event.remove(Engine, "do_connect", begin)


def audit() -> None:
    trail = AuditTrail(AWAY)
    trail.add(Entry("acme", datetime.now(UTC), "anna", "operator", "POST /ask", "", "done", 200, "r1", 1.0))
    trail.close()


def rate() -> None:
    given = FeedbackRequest(request_id="r1", rating="up")
    asyncio.run(Feedback(AWAY).keep(Principal(ACME, "anna", "operator"), given))


@pytest.mark.parametrize(
    "use",
    [
        audit,
        rate,
        lambda: DeviceRecords(AWAY).ping(),
        lambda: Guides(AWAY).find(ACME, uuid.uuid4()),
        lambda: asyncio.run(Policies(AWAY, "free").of(ACME)),
    ],
    ids=["audit", "feedback", "devices", "guides", "policies"],
)
def test_what_answers_calls_waits_for_no_statement_without_end(
    connecting: list[dict[str, Any]], use: Callable[[], object]
) -> None:
    with suppress(OperationalError):
        use()
    assert {(each["options"], each["tcp_user_timeout"]) for each in connecting} == {
        ("-c statement_timeout=5000", 10_000)
    }
