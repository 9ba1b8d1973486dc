"""A server's processes: started detached, found again after any crash, and ended to the last child.

A process belongs to a server when it has one of that server's logs open for writing, or when the environment
that it was started with names that log: a child may write elsewhere, and one that changed its title has lost
its environment. That holds for every child that a server forks, needs no pid file that could be stale or name
a recycled pid, and survives the death of the process that started it.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM

import psutil

from iotops.errors import StackError

MARK = "IOTOPS_STACK_LOG"
TERM_S, KILL_S = 3.0, 20.0
LAST_LINES = 15
RAY_CLIENT_LOG = "/logs/python-core-driver-"
SEGMENT = re.compile(r"/dev/shm/psm_\w+")
"""Shared memory as Python's `multiprocessing` names it."""


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
            env={**environment, **launch.environment, MARK: str(log)},
            cwd=log.parent,
            start_new_session=True,
        )


def owned(places: Iterable[Path]) -> list[psutil.Process]:
    """Every process that writes to one of the places (a log file, or a folder of logs).

    Someone who reads a log is not one of them, nor is a client of the Ray cluster, this process perhaps,
    which writes a log of its own beside the cluster's.
    """
    prefixes = tuple(str(place) for place in places)
    found = []
    for process in psutil.process_iter():
        written = _written_files(process.pid)
        if _ray_client(written):
            written = []
        names = [*written, _mark(process.pid)]
        if any(name == prefix or name.startswith(f"{prefix}/") for name in names for prefix in prefixes):
            found.append(process)
    return found


def _ray_client(written: list[str]) -> bool:
    """Whether a process that writes to these is a client of a Ray cluster, and none of its own.

    Ray's agent becomes a client too once a job was submitted; Ray's own write what they print to its logs.
    """
    folders = [path.partition(RAY_CLIENT_LOG)[0] for path in written if RAY_CLIENT_LOG in path]
    own = [path for path in written if path.endswith(".out")]
    return bool(folders) and not any(path.startswith(f"{folder}/logs/") for path in own for folder in folders)


def _mark(pid: int) -> str:
    """The log that a process's environment names; nothing where it is gone, wiped or another user's."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    variables = dict(variable.partition(b"=")[::2] for variable in environment.split(b"\0"))
    return os.fsdecode(variables.get(MARK.encode(), b""))


def _written_files(pid: int) -> list[str]:
    """What a process has open for writing; nothing where it is gone or another user's."""
    paths = []
    try:
        descriptors = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return []
    for descriptor in descriptors:
        with suppress(OSError):  # closed meanwhile, or not ours to see
            target = str(Path(descriptor.path).readlink())
            if target.startswith("/") and descriptor.stat(follow_symlinks=False).st_mode & stat.S_IWUSR:
                paths.append(target.removesuffix(" (deleted)"))
    return paths


def roots(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that no other of them started."""
    pids = {process.pid for process in processes}
    found = []
    for process in processes:
        try:
            if process.ppid() not in pids and alive(process):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def oldest_root(processes: list[psutil.Process]) -> psutil.Process | None:
    """The main process: its own children may have outlived an earlier one."""
    return min(roots(processes), key=lambda each: each.create_time(), default=None)


def stop(places: list[Path], signal: int, timeout_s: float) -> None:
    """End a server: the signal to its roots, after `timeout_s` SIGTERM to what is left, then SIGKILL.

    What shared memory they leave is removed, which those that are killed cannot do. Raises `StackError` if
    any process survives that.
    """
    found = owned(places)
    shared, main = shared_memory(found), roots(found)
    _signal(main, signal)
    _wait(main, timeout_s)
    if left := owned(places):
        _kill(left, places)
    for segment in shared:
        segment.unlink(missing_ok=True)


def shared_memory(processes: list[psutil.Process]) -> set[Path]:
    """Segments that the processes have mapped."""
    found = set[Path]()
    for process in processes:
        with suppress(OSError):  # it is gone
            found |= set(map(Path, SEGMENT.findall(Path(f"/proc/{process.pid}/maps").read_text())))
    return found


def _kill(left: list[psutil.Process], places: list[Path]) -> None:
    _signal(left, SIGTERM)
    _wait(left, TERM_S)
    deadline = time.monotonic() + KILL_S
    while left := owned(places):  # one that dies may have started another
        if time.monotonic() > deadline:
            survivors = ", ".join(str(process.pid) for process in left)
            raise StackError(f"processes {survivors} survived SIGKILL; they write to {places[0]}")
        _signal(left, SIGKILL)
        _wait(left, 1)


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


def tail(log: Path) -> str:
    """The last lines of a log."""
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def _signal(processes: list[psutil.Process], signal: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(alive, processes)):
        time.sleep(0.05)


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
