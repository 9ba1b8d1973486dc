"""A server's processes: started detached, found again after any crash, and ended to the last child.

A process belongs to a server when its output goes to that server's log. That holds for every child that a
server forks, needs no pid file that could be stale or name a recycled pid, and survives the death of the
process that started it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from iotops.errors import StackError

TERM_S, KILL_S = 20.0, 5.0


@dataclass(frozen=True)
class Launch:
    """How to start a server: its command, what its environment adds, and a prefix that changes the user."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def start(launch: Launch, log: Path) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, with its output at the end of its log."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IOTOPS_")}
    with log.open("ab") as output:
        return subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment, **launch.environment},
            cwd=log.parent,
            start_new_session=True,
        )


def owned(places: Iterable[Path]) -> list[psutil.Process]:
    """Every process whose output goes to one of the places (a log file, or a folder of logs)."""
    prefixes = tuple(str(place) for place in places)
    found = []
    for process in psutil.process_iter():
        for descriptor in (1, 2):
            try:
                target = str(Path(f"/proc/{process.pid}/fd/{descriptor}").readlink())
            except OSError:
                continue
            if any(target == prefix or target.startswith(f"{prefix}/") for prefix in prefixes):
                found.append(process)
                break
    return found


def roots(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that no other of them started."""
    pids = {process.pid for process in processes}
    found = []
    for process in processes:
        try:
            if process.ppid() not in pids and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def stop(places: list[Path], signal: int) -> None:
    """End a server: the signal to its root, then to what is left, then SIGKILL; raises if any survives."""
    _signal(roots(owned(places)), signal)
    if _gone(places, TERM_S):
        return
    for process in owned(places):
        _ignore_gone(process.terminate)
    if _gone(places, KILL_S):
        return
    for process in owned(places):
        _ignore_gone(process.kill)
    if not _gone(places, KILL_S):
        left = ", ".join(str(process.pid) for process in owned(places))
        raise StackError(f"processes {left} survived SIGKILL; their output goes to {places[0]}")


def port_holder(port: int) -> str | None:
    """Who listens on a loopback port: None if nobody, else its pid and command where they can be known."""
    listening = [
        connection
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
    ]
    if not listening:
        return None
    pid = listening[0].pid
    if pid is None:
        return "a process of another user"
    try:
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:80]})"
    except psutil.Error:
        return f"process {pid}"


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _signal(processes: list[psutil.Process], signal: int) -> None:
    for process in processes:
        _ignore_gone(partial(process.send_signal, signal))


def _ignore_gone(act: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        act()


def _gone(places: list[Path], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(process.status() == psutil.STATUS_ZOMBIE for process in owned(places)):
            return True
        time.sleep(0.1)
    return False
