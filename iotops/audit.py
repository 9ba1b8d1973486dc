"""The audit: who did what, as which tenant, with which outcome. Rows are only added, and go when old."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from iotops.database import engine, serving_engine, tenant_transaction
from iotops.metrics import AUDIT_DROPPED
from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant

FLUSH_EVERY_S = 1.0
MOST_WAITING = 20_000
BATCH = 1000
CLOSE_TIMEOUT_S = 10.0
Outcome = Literal["done", "denied", "refused", "failed", "cancelled"]
COLUMNS = (
    "entry_id", "tenant_id", "at", "subject", "role", "action", "object", "outcome", "status", "request_id",
    "latency_ms", "model", "prompt_tokens", "completion_tokens", "cost", "question",
)  # fmt: skip
INSERT = text(
    f"INSERT INTO platform.audit_log ({', '.join(COLUMNS)}) VALUES (:{', :'.join(COLUMNS)}) "
    "ON CONFLICT (entry_id) DO NOTHING"  # written before, by a commit of which no word came back
)
SELECT = text(
    f"SELECT {', '.join(COLUMNS[2:])} FROM platform.audit_log WHERE at >= :since ORDER BY at, entry_id"
)
TAKE_ON = text("SET LOCAL ROLE iotops_retention")
EXPIRE = text("DELETE FROM platform.audit_log WHERE at < :before")
# Serve's own handlers write what is logged under its name, as JSON beside its access log.
line = logging.getLogger("ray.serve.audit")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One call. `status` is HTTP's, `at` the call's arrival, `cost` in the currency of the model's prices."""

    tenant_id: str
    at: datetime
    subject: str
    role: str
    action: str
    object: str
    outcome: Outcome
    status: int
    request_id: str
    latency_ms: float
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    question: str | None = None
    entry_id: uuid.UUID = field(default_factory=uuid.uuid4)

    def storable(self) -> Entry:
        """The same without characters that Postgres refuses: they would take other calls' rows with them."""
        texts: dict[str, Any] = {
            name: _clean(value) for name, value in vars(self).items() if isinstance(value, str)
        }
        return replace(self, **texts)


class AuditTrail:
    """Writes entries to the table in the background, from a thread of its own.

    An entry waits a second at most while the database answers. While it does not, up to `most` entries wait;
    what comes on top is counted in `audit_dropped_entries_total` and told in the log, which has its line.
    """

    def __init__(self, settings: DatabaseSettings, most: int = MOST_WAITING) -> None:
        self._engine, self._most = serving_engine(settings), most
        self._waiting: deque[Entry] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Have an entry stored; never waits for the database."""
        with self._lock:
            if room := len(self._waiting) < self._most:
                self._waiting.append(entry.storable())
        if not room:
            self._lose(1)

    def close(self) -> None:
        """Store what waits, and end; what the database does not take within ten seconds is lost, and told."""
        self._closing.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            logger.error("the audit ends with %d entries on their way to the database", len(self._waiting))

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_EVERY_S):
            self._flush()
        self._flush()
        self._lose(len(self._waiting))
        self._tell()

    def _flush(self) -> None:
        try:
            while batch := self._first():
                self._store(batch)
                with self._lock:
                    for _ in batch:
                        self._waiting.popleft()
        except SQLAlchemyError as error:  # its text would hold the statement
            cause = error.orig if isinstance(error, DBAPIError) else error
            logger.warning("the audit waits for the database, %d entries: %r", len(self._waiting), cause)
        self._tell()

    def _first(self) -> list[Entry]:
        with self._lock:
            return list(islice(self._waiting, BATCH))

    def _store(self, batch: list[Entry]) -> None:
        """Store entries, each tenant's in a transaction of its own; raises where the database is away."""
        ordered = sorted(batch, key=lambda entry: entry.tenant_id)
        for tenant_id, entries in groupby(ordered, key=lambda entry: entry.tenant_id):
            rows = [vars(entry) for entry in entries]
            try:
                with tenant_transaction(self._engine, Tenant(tenant_id)) as connection:
                    connection.execute(INSERT, rows)
            except (DataError, IntegrityError) as error:  # what is refused now is refused again
                logger.error("the audit of %s refuses %d entries: %r", tenant_id, len(rows), error.orig)
                self._lose(len(rows))

    def _lose(self, count: int) -> None:
        if count:
            with self._lock:
                self._dropped += count
            AUDIT_DROPPED.inc(count)

    def _tell(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.error("%d entries of the audit are not stored; the log has their lines", dropped)


def log(entry: Entry, question: str | None = None) -> None:
    """Write the line of an entry; `question` is its own without personal data, which no line has."""
    told = _told(replace(entry, question=question).storable())
    line.info("%s: %s", entry.action, entry.outcome, extra={"audit": told})


def entries(settings: DatabaseSettings, tenant: Tenant, since: datetime) -> list[dict[str, Any]]:
    """A tenant's audit from a moment on, the oldest first, by column."""
    with tenant_transaction(engine(settings), tenant) as connection:
        return [dict(row) for row in connection.execute(SELECT, {"since": since}).mappings()]


def expire(settings: DatabaseSettings, tenant: Tenant, keep_days: int) -> int:
    """Delete a tenant's rows that are older than so many days; how many.

    The database lets none go that is younger than 30 days, whatever is said here. The application's role may
    delete nothing; it takes on one that may delete old rows, for this alone.
    """
    before = datetime.now(UTC) - timedelta(days=keep_days)
    with tenant_transaction(engine(settings), tenant) as connection:
        connection.execute(TAKE_ON)
        return connection.execute(EXPIRE, {"before": before}).rowcount


def _told(entry: Entry) -> dict[str, Any]:
    told = {**asdict(entry), "at": entry.at.isoformat(), "entry_id": str(entry.entry_id)}
    return {name: value for name, value in told.items() if value is not None}


def _clean(value: str) -> str:
    return value.encode("utf-8", "replace").decode().replace("\0", "�")
