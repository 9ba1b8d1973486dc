"""Bronze to gold with something killed in the middle: the next run leaves what an undisturbed one does.

Each victim is killed in as many rounds as IOTOPS_FAULT_ROUNDS says, at moments spread over a run:

    IOTOPS_FAULT_ROUNDS=10 .venv/bin/python -m pytest tests/faults/test_lake_faults.py -s
"""

from __future__ import annotations

import os
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
import pytest

from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.stack import embedded
from iotops.stack.postgres import Postgres
from iotops.stack.ray_node import RayNode
from iotops.tenancy import Tenant
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.maintenance import ORPHAN_AGE, maintain
from pipelines.lake.silver_tables import TABLES
from tests.embedded import embedded_stack
from tests.faults.lake_bronze import HOURS, fill
from tests.faults.lake_content import Content, content, empty, files, held, silver
from tests.faults.lake_run import Run, run

ROUNDS = int(os.environ.get("IOTOPS_FAULT_ROUNDS", "0"))
READINGS = 60_000
TENANT = Tenant("faulty_lake")
END_S = 240.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # of the node: it ends where they do
TASKS = ("ray::MapBatches(", "ray::ReadIceberg", "ray::_gather", "ray::_score")
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not ROUNDS, reason="minutes a round: IOTOPS_FAULT_ROUNDS says how many of each victim"
    ),
]


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nothing disturbs leaves, and when each of its steps began (s; the last is its end)."""

    content: Content
    steps: list[float]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of its own, with the bronze of three hours."""
    with pytest.MonkeyPatch.context() as patch:
        # The forecast's threads would wait for each other on cores that the cluster uses.
        patch.setenv("OMP_NUM_THREADS", "1")
        with embedded_stack(tmp_path_factory.mktemp("home")) as settings:
            create_tenant(settings, TENANT)
            fill(settings, TENANT, READINGS)
            yield settings


@pytest.fixture(scope="module")
def undisturbed(running: Settings) -> Undisturbed:
    """The measure of the others."""
    whole = Run(TENANT)
    assert whole.end(END_S) == 0, whole.output
    found = content(running, TENANT)
    assert all(rows for rows, _ in found.values()), found
    return Undisturbed(found, whole.steps)


def a_task(settings: Settings, run: Run) -> bool:
    """The worker process of a task that is being executed."""
    while run.alive:
        for each, title in workers(settings):
            if title.startswith(TASKS):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
                    return True
        time.sleep(0.05)
    return False


def ray_workers(settings: Settings, run: Run) -> bool:
    """All worker processes of the Ray node at once, idle and busy."""
    found = workers(settings)
    for each, _ in found:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    return bool(found)


def the_driver(settings: Settings, run: Run) -> bool:
    """The process that runs the stage."""
    run.process.kill()
    return True


def the_database(settings: Settings, run: Run) -> bool:
    """The postmaster; Postgres is up again while the run may still be there."""
    root = Postgres(settings).root()
    assert root is not None
    root.kill()
    embedded.up(settings)
    return True


def workers(settings: Settings) -> list[tuple[psutil.Process, str]]:
    """The worker processes of the stack's own Ray node, with what each executes."""
    node, found = RayNode(settings).root(), []
    assert node is not None
    for each in node.children(recursive=True):
        with suppress(psutil.NoSuchProcess, IndexError):
            if (title := each.cmdline()[0]).startswith("ray::") and title not in AGENTS:
                found.append((each, title))
    return found


@pytest.mark.parametrize("victim", [a_task, ray_workers, the_driver, the_database])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_run_after_a_kill_leaves_the_same_tables(
    running: Settings, undisturbed: Undisturbed, victim: Callable[[Settings, Run], bool], number: int
) -> None:
    moment = (number + random.Random(f"{victim.__name__} {number}").random()) / ROUNDS
    while (outcome := disturbed(running, undisturbed, victim, moment)) is None:
        moment /= 2
    print(f"killed {outcome}")
    assert content(running, TENANT) == undisturbed.content


def disturbed(
    settings: Settings, undisturbed: Undisturbed, victim: Callable[[Settings, Run], bool], moment: float
) -> str | None:
    """Run from nothing, strike at the moment (0-1 of an undisturbed run), run again; what happened, in words.

    None where the run had ended before there was something to kill: nothing has been shown then.
    """
    empty(settings, TENANT)
    at = moment * undisturbed.steps[-1]
    step = bisect_right(undisturbed.steps, at) - 1
    first = Run(TENANT)
    try:
        assert first.reach(step, END_S), first.output
        time.sleep(at - undisturbed.steps[step])
        if not (first.alive and victim(settings, first)):
            return None
        done = f"in step {len(first.steps)} of {len(undisturbed.steps) - 1}"
        status = first.end(END_S)
    finally:
        first.process.kill()
    if status == 0:
        return f"{done}; the run went on to its end"
    run(settings, TENANT, lambda message: None)
    said = [line for line in first.output if "Error" in line] or first.output
    return f"{done}; the run ended with status {status} ({said[-1][:200]})"


def test_runs_at_once_leave_one_result(running: Settings, undisturbed: Undisturbed) -> None:
    """Both stages, and beside them a load of the same hours by name and the upkeep of the tables."""
    empty(running, TENANT)
    stages = Run(TENANT)
    assert stages.reach(0, END_S)
    with ThreadPoolExecutor(2) as pool:
        load = pool.submit(load_silver, running, TENANT, HOURS)
        upkeep = pool.submit(maintain, running, TENANT, now=datetime.now(UTC) + 2 * ORPHAN_AGE)
        assert stages.end(END_S) == 0, stages.output
        assert [each.arrival_hour for each in load.result()] == HOURS
        upkeep.result()
    assert content(running, TENANT) == undisturbed.content


def test_what_a_killed_run_left_goes_and_live_files_stay(running: Settings, undisturbed: Undisturbed) -> None:
    empty(running, TENANT)
    before, killed = files(running, TENANT), Run(TENANT)
    while not (written := {path for path in files(running, TENANT) - before if path.endswith(".parquet")}):
        assert killed.alive, killed.output
    killed.process.kill()
    killed.end(END_S)
    load_silver(running, TENANT)
    live = held(running, TENANT)
    assert written - live, "the run was killed after a commit"
    maintain(running, TENANT)
    assert written <= files(running, TENANT), "a young file may be about to be committed"
    done = maintain(running, TENANT, now=datetime.now(UTC) + 2 * ORPHAN_AGE)
    assert files(running, TENANT) == live
    assert sum(each.files for each in done) >= len(written - live)
    assert silver(running, TENANT) == {name: undisturbed.content[name] for name in TABLES}
