"""Contenders as processes of their own, each told what to do and answering in lines of JSON.

Peers of this project live in a virtual environment of their own, which sees what this one has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from iotops.errors import IotOpsError

HAYSTACK = ("haystack-ai==3.4.1", "sentence-transformers-haystack==2.0.0")
SILENT = {"HAYSTACK_TELEMETRY_ENABLED": "False"}
"""Environment of peers that would tell their makers of each run."""
ENDING_S = 15
_ROOT = Path(__file__).parents[1]


class ContenderError(IotOpsError):
    """A contender cannot be installed, or broke down."""


class Contender:
    """A process that has done what it does first; `ready` is what it said then."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it, its stderr in `log`; raises `ContenderError` with the end of that where it ends."""
        self.name, self._log = name, log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=_ROOT,
                env={**os.environ, **(environment or {})},
            )
        self.ready = self._line()

    def asked(self, for_what: Any) -> dict[str, Any]:
        """Its answer to a line; raises `ContenderError` where it ends instead."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(for_what) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status, said = self._process.wait(), self._log.read_text(errors="replace")
            raise ContenderError(f"{self.name} ended with status {status}: {said[-500:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Its input ends, and so does it, with the processes that it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def installed(folder: Path, *requirements: str) -> Path:
    """The interpreter of an environment that has some packages, and sees those of this one."""
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        # Beside the peers' own: what they share with this project, torch above all, is not fetched again.
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [python, "-m", "pip", "install", "-qq", *requirements], env=quiet, capture_output=True, text=True
    )
    if done.returncode:
        raise ContenderError(f"pip install {' '.join(requirements)} failed: {done.stderr[-500:]}")
    return python
