"""Sinks that run beside a test, and what they have stored."""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.members import SINKS
from pipelines.ingest.sink import Sink


@contextmanager
def running(settings: Settings, name: str) -> Iterator[Sink]:
    """A sink in a thread, while the test goes on; for one that fails it says where it is."""
    sink = SINKS[name](settings)
    thread = threading.Thread(target=sink.run)
    thread.start()
    try:
        yield sink
    except AssertionError:
        print(f"{name} runs: {thread.is_alive()}; {sink.progress}")
        faulthandler.dump_traceback(sys.__stderr__)
        raise
    finally:
        sink.stop()
        thread.join()


def stored(settings: Settings, tenant: Tenant) -> int:
    """Readings of a tenant in the hot table."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        count: int = connection.execute(text("SELECT count(*) FROM silver.telemetry")).scalar_one()
    return count
