"""Bronze to gold for a tenant, as a process of its own that says each step: something to kill.

    python -m tests.faults.lake_run acme

The jobs and tasks are made small, so that a little bronze has many of them.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant
from pipelines.jobs.protocol import PROGRESS, progress
from pipelines.lake import bronze_to_silver, silver_task, silver_to_gold
from pipelines.stages import Parameters, run_stage

STAGES = ("bronze-to-silver", "silver-to-gold")
JOB_BYTES, TASK_BYTES = 3 * 2**19, 2**19
GOLD = silver_to_gold.Sizes(here=0, group=60_000, part=60_000)  # in Ray tasks


def run(settings: Settings, tenant: Tenant, on_progress: Callable[[str], None]) -> None:
    """Both stages; raises what they raise."""
    bronze_to_silver.JOB_BYTES, silver_task.TASK_BYTES = JOB_BYTES, TASK_BYTES
    silver_to_gold.build_gold = partial(silver_to_gold.build_gold, sizes=GOLD)
    for stage in STAGES:
        run_stage(stage, settings, tenant.id, Parameters(), on_progress)


class Run:
    """The process, with the steps that it has begun and when (s, from the first on)."""

    def __init__(self, tenant: Tenant) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.lake_run", tenant.id],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.steps: list[float] = []
        self.output: list[str] = []
        self._silent = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self.process.poll() is None

    def reach(self, step: int, timeout_s: float) -> bool:
        """Wait for the nth step to begin; whether it did before the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.steps) > step or self._silent, timeout_s)
        return len(self.steps) > step

    def end(self, timeout_s: float) -> int:
        """Wait for its end; the exit status."""
        status = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return status

    def _read(self) -> None:
        began = 0.0
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip())
            if line.startswith(PROGRESS):
                began = began or time.monotonic()
                with self._changed:
                    self.steps.append(time.monotonic() - began)
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()


if __name__ == "__main__":
    run(get_settings(), Tenant(sys.argv[1]), progress)
    progress("done")
