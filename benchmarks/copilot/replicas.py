"""One replica and several of the copilot, its retriever and its embedder, scaled through Serve."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from rich.table import Table

from benchmarks.copilot.load import at_rate
from benchmarks.copilot.session import Session
from benchmarks.copilot.summary import COLUMNS, by_kind, row
from iotops.errors import IotOpsError
from iotops.serving import COPILOT, deploy
from iotops.settings import Settings

SCALED = ("Copilot", "Retriever", "Embedder")
TIMEOUT_S = 180


def run(session: Session, count: int, rate: float, seconds: float) -> None:
    """Offer the mix to one replica of each and to several; print and keep what was measured."""
    shown = Table(*COLUMNS, title=f"Replicas of {', '.join(SCALED)}; one of the model; {rate:g} questions/s")
    for replicas in (1, count):
        with session.console.status(f"{replicas} replicas"), scaled(session.settings, replicas):
            outcomes = asyncio.run(at_rate(session, rate, seconds))
        session.only_new(outcomes)
        found = by_kind(outcomes, session.catalogue)
        session.figures.add("replicas", str(replicas), found)
        for kind, each in found.items():
            shown.add_row(*row(f"{replicas}, {kind}", each))
    session.console.print(shown)
    session.console.print(
        "On the cores of one machine more replicas show that they answer right together: whatever one has "
        "answered the other has in the cache. Speed comes with more machines."
    )


@contextmanager
def scaled(settings: Settings, replicas: int) -> Iterator[None]:
    """So many replicas while it lasts; afterwards those that `configs/serve.yaml` has."""
    with tempfile.TemporaryDirectory(prefix="replicas-") as folder:
        configs = Path(folder) / "configs"
        shutil.copytree(settings.configs, configs)
        config = yaml.safe_load((configs / "serve.yaml").read_text())
        own = next(each for each in config["applications"] if each["name"] == COPILOT)["deployments"]
        usual = {each["name"]: each["num_replicas"] for each in own}
        wanted = {**usual, **dict.fromkeys(SCALED, replicas)}
        for deployment in own:
            deployment["num_replicas"] = wanted[deployment["name"]]
        (configs / "serve.yaml").write_text(yaml.safe_dump(config))
        try:
            deploy(settings.model_copy(update={"configs": configs}), [COPILOT])
            _wait(settings, wanted)
            yield
        finally:
            deploy(settings, [COPILOT])
            _wait(settings, usual)


def _wait(settings: Settings, wanted: dict[str, int]) -> None:
    client, deadline = ServeSubmissionClient(settings.ray.dashboard_url), time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        application = client.get_serve_details()["applications"][COPILOT]
        running = {
            name: sum(replica["state"] == "RUNNING" for replica in deployment["replicas"])
            for name, deployment in application["deployments"].items()
        }
        if application["status"] == "RUNNING" and wanted.items() <= running.items():
            return
        time.sleep(0.5)
    raise IotOpsError(f"not {wanted} replicas after {TIMEOUT_S} s, but {running}: see the Ray dashboard")
