"""Telling somebody that a flow failed: a JSON document, posted to the webhook that the settings name."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from iotops.settings import PrefectSettings, get_settings

ATTEMPTS, TIMEOUT_S, PAUSE_S = 3, 5.0, 1.0
MESSAGE_CHARACTERS = 2000
logger = logging.getLogger(__name__)


def notify_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook of a flow that has failed or crashed. A part of another run is that run's to tell of.

    What goes wrong here is logged and changes nothing for the flow.
    """
    settings = get_settings().prefect
    if settings.failure_webhook is None or flow_run.parent_task_run_id is not None:
        return
    post(
        settings,
        {
            "flow": flow.name,
            "run": flow_run.name,
            "tenant_id": flow_run.parameters.get("tenant"),
            "state": state.name,
            "message": (state.message or "")[:MESSAGE_CHARACTERS],
            "url": run_url(settings, flow_run.id),
            "time": datetime.now(UTC).isoformat(),
        },
    )


def post(settings: PrefectSettings, notice: dict[str, Any]) -> bool:
    """Post a notice, a few times at most while the receiver fails; whether it took it.

    The log does not name the URL, which may be all that keeps strangers out.
    """
    if settings.failure_webhook is None:
        return False
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2**attempt)
        try:
            url = settings.failure_webhook.get_secret_value()
            response = httpx.post(url, json=notice, timeout=TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = type(error).__name__
            continue
        if response.is_success:
            return True
        problem = f"status {response.status_code}"
        if response.is_client_error:  # it will not take it later either
            break
    logger.warning("the notice of %s is not delivered: %s", notice["run"], problem)
    return False


def run_url(settings: PrefectSettings, flow_run_id: Any) -> str:
    """A run's page."""
    return f"{settings.api_url.removesuffix('/api')}/runs/flow-run/{flow_run_id}"
