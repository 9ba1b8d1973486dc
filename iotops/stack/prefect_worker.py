"""The worker that runs the flows that are scheduled or triggered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx

from iotops.errors import StackError
from iotops.ray_cluster import LOCAL_NODE
from iotops.stack.files import chosen_settings, executable
from iotops.stack.process import Launch
from iotops.stack.server import Server

POOL = "iotops"
TIMEOUT_S = 30.0
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")


class PrefectWorker(Server):
    """`iotops flow worker`: applies the deployments and polls for their runs, each in its own process."""

    name = "prefect-worker"
    needs = ("prefect",)
    stop_timeout_s = 10.0

    def wanted(self) -> bool:
        """Without it the flows run by hand only."""
        return self.settings.stack.prefect_worker

    def ports(self) -> dict[int, str]:
        """None: it asks."""
        return {}

    def address(self) -> str:
        """The pool whose runs it takes."""
        return f"{self.settings.prefect.api_url}/work_pools/{POOL}"

    def prepare(self) -> None:
        """Runs of a worker that is no more, with what they started, are crashed: nobody else would tell, and
        each would count against the limit of its pool and its deployment for ever."""
        super().prepare()
        with httpx.Client(base_url=self.settings.prefect.api_url, timeout=TIMEOUT_S) as api:
            lost = _unfinished(api, {}, work_pools={"name": {"any_": [POOL]}})
            lost += _unfinished(api, {"parent_flow_run_id": {"any_": lost}}) if lost else []
            crashed = {"type": "CRASHED", "message": "Its worker ended before it."}
            for run in lost:
                api.post(f"/flow_runs/{run}/set_state", json={"state": crashed}).raise_for_status()

    def launch(self) -> Launch:
        """It knows the home, and so the settings; what it starts inherits that."""
        return Launch(
            [executable("iotops"), "flow", "worker"],
            {
                **chosen_settings(),
                "IOTOPS_HOME": str(self.settings.home),
                **LOCAL_NODE,
                "PREFECT_WORKER_QUERY_SECONDS": "2",
            },
        )

    def probe(self) -> None:
        """Its pool has heard of it since it started."""
        found = httpx.post(f"{self.address()}/workers/filter", json={}, timeout=3)
        found.raise_for_status()
        root = self.root()
        if root is None or not any(
            datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= root.create_time()
            for worker in found.json()
        ):
            raise StackError(f"the pool {POOL} has not heard of a worker yet")


def _unfinished(api: httpx.Client, runs: dict[str, Any], **others: Any) -> list[str]:
    wanted = {"flow_runs": {**runs, "state": {"type": {"any_": UNFINISHED}}}, **others}
    return [run["id"] for run in api.post("/flow_runs/filter", json=wanted).raise_for_status().json()]
