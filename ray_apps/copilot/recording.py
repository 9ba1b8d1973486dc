"""What each call of the copilot leaves behind: a row of the audit, its metrics, its limit in the headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iotops.audit import AuditTrail, Entry, Outcome, log
from iotops.auth import ExpiredToken, Principal, verify_bearer
from iotops.errors import AuthError, TenantError
from iotops.models import load_catalogue
from iotops.models.catalogue import Catalogue
from iotops.settings import get_settings
from ray_apps.chat import Completion, Writing
from ray_apps.copilot.guard.personal import scrubbed
from ray_apps.copilot.measures import measure_answer, measure_model, used

DENIED = frozenset({401, 403, 429})
MOST_PATH = 200
CANCELLED = 499
"""What web servers log for a caller that went away."""


@dataclass
class Note:
    """What a call says of itself while it is made."""

    headers: dict[str, str] = field(default_factory=dict)
    """For its answer, whatever that is."""
    object: str = ""
    """What it is about, if not what its path names: a device, the request that feedback is on."""
    question: str | None = None
    keep_question: bool = False
    """The tenant's policy."""
    broke: bool = False
    """Whether a stream told of a failure, after its answer had begun."""
    left: bool = False
    """Whether the listener of a stream went away before its end."""
    cited: bool | None = None
    """Of an answer: whether sources support it."""
    completions: list[Completion] = field(default_factory=list)
    """What language models wrote for it as a whole."""
    writings: list[Writing] = field(default_factory=list)
    """What they write piece by piece; it is paid as far as it came, whenever the call ends."""

    @property
    def written(self) -> list[Completion]:
        """All that language models read and wrote for it so far."""
        return [*self.completions, *(each for writing in self.writings for each in writing.completions)]


@dataclass(frozen=True)
class Recorder:
    """Where calls are recorded, and by which prices."""

    trail: AuditTrail
    catalogue: Catalogue


_current: ContextVar[Note] = ContextVar("note")


def note() -> Note:
    """The note of the running call; outside of one a note that nobody reads."""
    return _current.get(None) or Note()


@lru_cache(maxsize=1)
def recorder() -> Recorder:
    """The process's own."""
    settings = get_settings()
    return Recorder(AuditTrail(settings.database), load_catalogue(settings))


class Recorded:
    """Records each call of a known caller, once its last byte is sent: refused and broken-off ones too."""

    def __init__(self, app: ASGIApp, recorder: Callable[[], Recorder]) -> None:
        self._app, self._recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at, started, status = datetime.now(UTC), time.perf_counter(), 500
        outcome: Outcome | None = "failed"
        own = Note()
        token = _current.set(own)

        async def notice(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(own.headers)
            await send(message)

        try:
            await self._app(scope, receive, notice)
            outcome = "failed" if own.broke else None  # as its status says
            if own.left:
                outcome, status = "cancelled", CANCELLED
        except (asyncio.CancelledError, ClientDisconnect):
            outcome, status = "cancelled", CANCELLED
            raise
        finally:
            _current.reset(token)
            if principal := scope.get("state", {}).get("principal") or _bearer(scope):
                self._record(scope, principal, own, at, time.perf_counter() - started, status, outcome)

    def _record(
        self,
        scope: Scope,
        principal: Principal,
        own: Note,
        at: datetime,
        seconds: float,
        status: int,
        outcome: Outcome | None,
    ) -> None:
        recorder, written = self._recorder(), own.written
        usage = used(written, recorder.catalogue)
        entry = Entry(
            tenant_id=principal.tenant.id,
            at=at,
            subject=principal.subject,
            role=principal.role,
            action=_action(scope),
            object=own.object or "/".join(map(str, scope.get("path_params", {}).values())),
            outcome=outcome or _outcome(status),
            status=status,
            request_id=scope["state"]["request_id"],
            latency_ms=round(seconds * 1000, 1),
            model=usage.model,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost=usage.cost,
            question=own.question if own.keep_question else None,
        )
        recorder.trail.add(entry)
        if entry.question:  # to look through a long one may take seconds
            asyncio.get_running_loop().run_in_executor(None, _log_scrubbed, entry, entry.question)
        else:
            log(entry)
        measure_model(principal.tenant, written, usage)
        if own.cited is not None:
            measure_answer(principal.tenant, own.cited)


def _log_scrubbed(entry: Entry, question: str) -> None:
    log(entry, scrubbed(question))


def _action(scope: Scope) -> str:
    """The method and the route, or the path where it leads nowhere."""
    path: str = scope["route"].path if "route" in scope else scope["path"][:MOST_PATH]
    return f"{scope['method']} {path}"


def _bearer(scope: Scope) -> Principal | None:
    """Who sent a call that was not let in: one that is too large, leads nowhere, or comes with an expired
    token."""
    try:
        return verify_bearer(get_settings().auth, Headers(scope=scope).get("authorization"))
    except ExpiredToken as error:
        return error.principal
    except (AuthError, TenantError):
        return None


def _outcome(status: int) -> Outcome:
    if status in DENIED:
        return "denied"
    return "done" if status < 400 else "refused" if status < 500 else "failed"
