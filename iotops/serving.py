"""Deploying the Serve applications of `configs/serve.yaml` to the cluster that the settings name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from iotops.errors import IotOpsError
from iotops.ray_cluster import dashboard_client
from iotops.settings import Settings

COPILOT, LANGUAGE_MODEL = "copilot", "LanguageModel"
"""The application that answers, and its deployment of the language model."""
GATEWAY = ("gateway", "gateway-events")
"""The applications that devices post to."""
TIMEOUT_S = 420
POLL_S = 1.0


class ServingError(IotOpsError):
    """An application did not start; the message carries Serve's own."""


def deploy(settings: Settings, only: Sequence[str] = ()) -> list[str]:
    """Apply `configs/serve.yaml` at the settings' host and port, without waiting; the applications' names.

    The same file works with `serve deploy`. Deploying what runs already changes nothing. `only` names the
    applications to deploy; those that are deployed stay.
    """
    client = _client(settings)
    config = yaml.safe_load((settings.configs / "serve.yaml").read_text())
    config["http_options"] = {"host": settings.serve.host, "port": settings.serve.port}
    if only:
        wanted = {*only, *client.get_serve_details().get("applications", {})}
        config["applications"] = [each for each in config["applications"] if each["name"] in wanted]
    client.deploy_applications(config)
    return [application["name"] for application in config["applications"]]


def wait_until_running(
    settings: Settings, wanted: Sequence[str], on_progress: Callable[[str], None] = lambda message: None
) -> None:
    """Return when the applications run; raises `ServingError` with Serve's reason where one fails."""
    client = _client(settings)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        applications = client.get_serve_details().get("applications", {})
        states = {name: applications.get(name, {}).get("status", "NOT_STARTED") for name in wanted}
        if failed := [name for name, state in states.items() if state in ("DEPLOY_FAILED", "UNHEALTHY")]:
            raise ServingError(f"{failed[0]} did not start: {_reason(applications[failed[0]])}")
        if all(state == "RUNNING" for state in states.values()):
            return
        on_progress(", ".join(f"{name}: {_describe(applications.get(name, {}))}" for name in wanted))
        time.sleep(POLL_S)
    raise ServingError(f"not running after {TIMEOUT_S} s: {states}; see the Serve page of the Ray dashboard")


def _client(settings: Settings) -> ServeSubmissionClient:
    return dashboard_client(ServeSubmissionClient, settings.ray)


def _describe(application: dict[str, Any]) -> str:
    deployments = application.get("deployments", {})
    running = sum(deployment["status"] == "HEALTHY" for deployment in deployments.values())
    return f"{running} of {len(deployments)} deployments up" if deployments else "starting"


def _reason(application: dict[str, Any]) -> str:
    messages = [application.get("message", "")]
    messages += [deployment.get("message", "") for deployment in application.get("deployments", {}).values()]
    return "\n".join(message for message in messages if message)[-3000:]
