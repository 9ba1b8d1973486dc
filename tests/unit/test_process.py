"""What a server leaves behind when it is ended."""

from __future__ import annotations

import sys
from pathlib import Path
from signal import SIGKILL

import psutil
import pytest

from iotops.stack import process
from iotops.stack.process import Launch
from tests.waiting import eventually

SHARES = """
import signal
from multiprocessing.shared_memory import SharedMemory
shared = SharedMemory(create=True, size=4096)
print(shared.name, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("signal", [SIGKILL, 0])
def test_shared_memory_goes_with_those_that_are_killed(tmp_path: Path, signal: int):
    log = tmp_path / "server.log"
    process.start(Launch([sys.executable, "-c", SHARES]), log)
    eventually(lambda: log.read_text().endswith("\n"), timeout_s=30)
    segment = Path("/dev/shm") / log.read_text().strip()
    assert segment.is_file()
    [server] = [found for found in process.owned([log]) if "resource_tracker" not in found.cmdline()[-1]]
    for tracker in server.children():  # else it tidies up, which it cannot for all
        tracker.kill()
    process.stop([log], signal, 0.1)
    assert not segment.exists()
    assert not any(map(process.alive, process.owned([log])))
    assert not psutil.pid_exists(server.pid) or server.status() == psutil.STATUS_ZOMBIE
