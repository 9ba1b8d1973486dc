"""The deployments of the flows, as `prefect.yaml` has them: applied to Prefect, and how their runs went."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from iotops.errors import IotOpsError
from iotops.outages import unanswered
from iotops.ray_cluster import prepare_environment
from iotops.settings import PrefectSettings, Settings
from iotops.stack.files import executable
from iotops.stack.prefect_worker import POOL

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class FlowState:
    """A flow: when it runs, its last run (`state` is empty where there was none), and when its next one is
    due (empty where none is planned)."""

    flow: str
    deployment: str
    schedule: str
    triggers: tuple[str, ...]
    state: str
    started: str
    run: str
    next_run: str


def apply(settings: Settings) -> list[str]:
    """Make the work pool and the deployments what the file says; their names. Doing it again changes nothing.

    Raises `IotOpsError` where Prefect does not answer or refuses the file.
    """
    pool = {"concurrency_limit": settings.prefect.pool_runs}
    made = _call(
        settings.prefect, "POST", "/work_pools/", {"name": POOL, "type": "process", **pool}, refused=409
    )
    if made is None:
        _call(settings.prefect, "PATCH", f"/work_pools/{POOL}", pool)
    done = subprocess.run(
        [executable("prefect"), "--no-prompt", "deploy", "--all", "--prefect-file", PREFECT_FILE.name],
        cwd=PREFECT_FILE.parent,
        env={**os.environ, **prefect_environment(settings)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise IotOpsError(f"Prefect refused {PREFECT_FILE.name}: {done.stdout[-2000:]}")
    return [f"{each['flow']}/{each['name']}" for each in deployments()]


def work(settings: Settings) -> None:
    """Become a worker of the pool, in the place of this process."""
    prepare_environment(settings.ray)
    os.environ.update(prefect_environment(settings))
    program = executable("prefect")
    os.execv(program, [program, "worker", "start", "--pool", POOL, "--type", "process"])


def prefect_environment(settings: Settings) -> dict[str, str]:
    """What Prefect reads from the environment as it is imported."""
    return {
        "PREFECT_API_URL": settings.prefect.api_url,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the log goes to the server
        "DO_NOT_TRACK": "1",
    }


def deployments() -> list[dict[str, Any]]:
    """The file's deployments, with the names of their flows."""
    found = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    return [{**each, "flow": each["entrypoint"].rpartition(".")[2].replace("_", "-")} for each in found]


def states(settings: Settings) -> list[FlowState]:
    """Every flow with its last run; raises `IotOpsError` where Prefect does not answer."""
    found = []
    for each in deployments():
        of_flow = {"flows": {"name": {"any_": [each["flow"]]}}, "limit": 1}
        begun = {"flow_runs": {"start_time": {"is_null_": False}}, "sort": "START_TIME_DESC"}
        last = next(iter(_call(settings.prefect, "POST", "/flow_runs/filter", of_flow | begun)), None)
        due = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_ASC"}
        coming = next(iter(_call(settings.prefect, "POST", "/flow_runs/filter", of_flow | due)), None)
        found.append(
            FlowState(
                flow=each["flow"],
                deployment=each["name"],
                schedule=", ".join(schedule["cron"] for schedule in each.get("schedules", [])),
                triggers=tuple(trigger["expect"][0] for trigger in each.get("triggers", [])),
                state=last["state"]["name"] if last else "",
                started=last["start_time"] if last else "",
                run=last["name"] if last else "",
                next_run=coming["expected_start_time"] if coming else "",
            )
        )
    return found


def _call(
    settings: PrefectSettings, method: str, path: str, body: dict[str, Any], refused: int | None = None
) -> Any:
    """Call the API; None where it answers with the status `refused`."""
    try:
        answer = httpx.request(method, f"{settings.api_url}{path}", json=body, timeout=TIMEOUT_S)
        if answer.status_code == refused:
            return None
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise unanswered("Prefect", settings.api_url, "IOTOPS_PREFECT__API_URL", error) from None
    return answer.json() if answer.content else {}
