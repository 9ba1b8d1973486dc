"""What a contender takes: wall time, CPU time and peak memory of all its processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from iotops.settings import Settings
from iotops.stack import process
from iotops.stack.ray_node import RayNode

EVERY_S = 0.5


@dataclass(frozen=True)
class Cost:
    """Of one run: `result` is what the contender printed last."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    result: dict[str, int]


@dataclass
class _Sampler(threading.Thread):
    """CPU seconds and proportional memory of processes, as long as they live."""

    roots: Callable[[], Sequence[psutil.Process]]
    cpu_s: dict[int, float] = field(default_factory=dict)
    before_s: dict[int, float] = field(default_factory=dict)
    peak_bytes: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.sample(first=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.stopped.wait(EVERY_S):
            self.sample()

    def sample(self, first: bool = False) -> None:
        held = 0
        for each in self.roots():
            try:
                times = each.cpu_times()
                held += each.memory_full_info().pss
            except psutil.Error:
                continue
            self.cpu_s[each.pid] = times.user + times.system
            if first:
                self.before_s[each.pid] = self.cpu_s[each.pid]
        self.peak_bytes = max(self.peak_bytes, held)


def measure(settings: Settings, contender: str, stage: str, tenant: str, with_ray: bool) -> Cost:
    """Run a stage of a contender in a process of its own; `with_ray` counts what Ray does for it."""
    ray = process.owned(RayNode(settings).logs()) if with_ray else []
    command = [sys.executable, "-m", "benchmarks.lake.contender", contender, stage, tenant]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        own = psutil.Process(child.pid)

        def processes() -> list[psutil.Process]:
            found = [own]
            for root in (own, *ray):
                try:
                    found += root.children(recursive=True)
                except psutil.Error:
                    continue
            return list({each.pid: each for each in (*found, *ray)}.values())

        sampler = _Sampler(processes)
        sampler.start()
        printed, _ = child.communicate()
        sampler.stopped.set()
        sampler.join()
    wall = time.perf_counter() - started
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {child.returncode}")
    result = json.loads(printed.splitlines()[-1])
    cpu = sum(sampler.cpu_s.values()) - sum(sampler.before_s.values())
    return Cost(result.pop("wall_s", wall), cpu, sampler.peak_bytes, result)
