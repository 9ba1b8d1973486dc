"""What every server of the stack has in common."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psutil

from iotops.errors import StackError
from iotops.settings import Settings
from iotops.stack import process
from iotops.stack.files import private_folder
from iotops.stack.process import Launch

LOG_BYTES = 64 * 2**20
"""A log that is longer is put aside at the next start, in the place of the one before."""


class Server(ABC):
    """One server: how it starts, when it is ready, and which of its processes run."""

    name: str
    needs: tuple[str, ...] = ()
    stop_signal = signal.SIGTERM
    ready_timeout_s = 120.0  # the cores may be busy; one that dies meanwhile is told at once
    stop_timeout_s = 20.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = settings.home / "data" / self.name
        self.log = settings.home / "logs" / f"{self.name}.log"

    def wanted(self) -> bool:
        """Whether the settings ask for it."""
        return True

    @abstractmethod
    def ports(self) -> dict[int, str]:
        """Ports that it listens on, with the name of the setting that each follows from."""

    @abstractmethod
    def launch(self) -> Launch:
        """Its command; may write its configuration."""

    @abstractmethod
    def probe(self) -> None:
        """Raise unless it answers in its own protocol."""

    @abstractmethod
    def address(self) -> str:
        """Where clients reach it."""

    def prepare(self) -> None:
        """Make its data folder ready, before a start; nobody else may read it."""
        private_folder(self.data)

    def provision(self) -> None:
        """Make what the platform needs in it (roles, buckets); runs at every `up`."""

    def logs(self) -> list[Path]:
        """Where its processes write: what they are known by."""
        return [self.log]

    def root(self) -> psutil.Process | None:
        """Its main process, if it runs."""
        return process.oldest_root(process.owned(self.logs()))

    def healthy(self) -> bool:
        """Whether it runs and answers."""
        return self.root() is not None and self.answers()

    def answers(self) -> bool:
        """Whether something at its port answers in its protocol, with its credentials."""
        try:
            self.probe()
        except Exception:
            return False
        return True

    def start(self) -> None:
        """Start it and return when it answers; raises `StackError` with the end of its log."""
        if self.root() is not None:
            self.stop()  # it runs and does not answer, or its main process died and left children
        self.refuse_taken_ports()
        self.prepare()
        if self.log.is_file() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        started = process.start(self.launch(), self.log)
        deadline = time.monotonic() + self.ready_timeout_s
        problem: Exception | None = None
        while time.monotonic() < deadline:
            if started.poll() is not None:
                raise StackError(self._failure(f"ended with status {started.returncode}"))
            try:
                self.probe()
                return
            except Exception as error:
                problem = error
                time.sleep(0.1)
        raise StackError(self._failure(f"does not answer after {self.ready_timeout_s:.0f} s: {problem!r}"))

    def refuse_taken_ports(self) -> None:
        """Raise `StackError` where somebody else listens at a port of its own, saying who and what to do."""
        for port, setting in self.ports().items():
            if holder := process.port_holder(port):
                raise StackError(
                    f"port {port} for {self.name} is taken by {holder}: end it, or set "
                    f"IOTOPS_STACK__{setting.upper()} to a free port"
                )

    def stop(self) -> None:
        """End it with all its children."""
        process.stop(self.logs(), self.stop_signal, self.stop_timeout_s)

    def _failure(self, what: str) -> str:
        return f"{self.name} {what}. The end of {self.log}:\n{process.tail(self.log)}"


def run(command: list[str]) -> None:
    """Run a short command; raises `StackError` with its output."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        raise StackError(
            f"{Path(command[0]).name} failed with status {done.returncode}: {done.stdout[-800:]}"
        )
