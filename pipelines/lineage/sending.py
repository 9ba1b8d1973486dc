"""Sending OpenLineage events: to a file always, to a server where one is named."""

from __future__ import annotations

import logging
import os
import threading

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport
from openlineage.client.transport.transport import Transport

from iotops.settings import Settings

logger = logging.getLogger(__name__)

API_KEY = "OPENLINEAGE_API_KEY"
"""Environment variable of OpenLineage's own clients; sent as a bearer token."""
REQUEST_TIMEOUT_S = 2.0
PATIENCE_S = 5.0
"""A server that has not taken an event by then is not waited for: no run is held up by its bookkeeping."""


def send(settings: Settings, owner: str, event: RunEvent) -> None:
    """Append the event to `<home>/lineage/<owner>/<month>.jsonl` and post it to the server; never raises.

    What cannot be sent is logged as a warning: the run's record is in Postgres in any case.
    """
    folder = settings.home / "lineage" / owner
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{event.eventTime[:7]}.jsonl"
        _emit(FileTransport(FileConfig(str(path), append=True)), event)
    except (OSError, RuntimeError) as error:
        logger.warning("lineage event not written to %s: %s", folder, error)
    if settings.lineage.url:
        _post(settings.lineage.url, event)


def _post(url: str, event: RunEvent) -> None:
    """Post in a thread of its own, since a request's timeout bounds each wait and not their sum."""

    def post() -> None:
        try:
            _emit(_http(url), event)
        except Exception as error:  # whatever the server does, the run goes on
            logger.warning("lineage server %s did not take the event: %s", url, error)

    thread = threading.Thread(target=post, name="lineage", daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if thread.is_alive():
        logger.warning("lineage server %s has not answered in %s s: not waited for", url, PATIENCE_S)


def _http(url: str) -> HttpTransport:
    key = os.environ.get(API_KEY)
    config = {
        "url": url,
        "timeout": REQUEST_TIMEOUT_S,
        "retry": {"total": 1, "connect": 1, "read": 1},
        "auth": {"type": "api_key", "apiKey": key} if key else {},
    }
    return HttpTransport(HttpConfig.from_dict(config))


def _emit(transport: Transport, event: RunEvent) -> None:
    client = OpenLineageClient(transport=transport)
    client.emit(event)
    client.close(0)
