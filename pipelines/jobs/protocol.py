"""What a job says in its log, for a person and for whoever waits for it: progress, and its result or error.

The log is all that a cluster behind an address gives back, so both sides of it are here: a job does its work
by `reported`, a flow or a command follows it by `attend`.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import orjson

from iotops.errors import IotOpsError, TenantError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PROGRESS, RESULT, ERROR, REFUSED = "progress: ", "result: ", "error: ", "refused: "
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
SILENCE_S = 60.0
"""How long the job API may be away before a job counts as lost."""


class JobFailed(IotOpsError):
    """A job ended without a result; the message is its own."""


class JobRefused(JobFailed):
    """A job's input is wrong: trying again is no use."""


class JobStopped(JobFailed):
    """A job was stopped, by someone or because whoever waited for it was."""


def progress(message: str) -> None:
    """Say where the job stands."""
    print(f"{PROGRESS}{message}", flush=True)


def reported(work: Callable[[], Any]) -> int:
    """Do the work of a job and say what came of it (JSON); the job's exit status: 0, 1 failed, 2 refused."""
    try:
        result = work()
    except (JobRefused, TenantError) as error:
        return _ended(REFUSED, str(error), 2)
    except IotOpsError as error:
        return _ended(ERROR, str(error), 1)
    except Exception as error:
        traceback.print_exc()
        return _ended(ERROR, f"{type(error).__name__}: {error}", 1)
    return _ended(RESULT, result, 0)


def _ended(kind: str, what: Any, status: int) -> int:
    print(f"{kind}{orjson.dumps(what, default=str).decode()}", flush=True)
    return status


class Heard:
    """What a job has said so far: its progress is passed on, its end is kept."""

    def __init__(self, on_progress: Callable[[str], None]) -> None:
        self._on_progress = on_progress
        self._read = 0
        self.end: tuple[str, Any] | None = None

    def listen(self, log: str) -> None:
        """Take in the log, which holds what was heard before too; a line that is not ended waits."""
        whole = log[: log.rfind("\n") + 1]
        for line in whole[self._read :].split("\n"):  # and no more: JSON text may hold other ends of lines
            if line.startswith(PROGRESS):
                self._on_progress(line.removeprefix(PROGRESS))
            for kind in (RESULT, ERROR, REFUSED):
                if line.startswith(kind):
                    self.end = kind, orjson.loads(line.removeprefix(kind))
        self._read = len(whole)


def attend(
    client: JobSubmissionClient,
    job_id: str,
    on_progress: Callable[[str], None] = lambda message: None,
    stopping: Event | None = None,
    timeout_s: float = math.inf,
) -> Any:
    """Follow a job to its result; stops it where this is interrupted, takes too long, or `stopping` is set.

    Raises `JobFailed` with the job's own message. The log is polled and not tailed: Ray's tail waits seconds
    more at the end of each job than the short ones take, and cannot be interrupted from another thread.
    """
    heard, pause, answered = Heard(on_progress), FIRST_PAUSE_S, time.monotonic()
    deadline = answered + timeout_s
    try:
        while heard.end is None:
            if stopping is not None and stopping.is_set():
                raise JobStopped(f"job {job_id} is stopped with the run that waits for it")
            if time.monotonic() > deadline:
                raise JobFailed(f"timeout: job {job_id} had not ended after {timeout_s:g} s, and is stopped")
            try:
                status = client.get_job_status(job_id)  # before the log, which is whole once it has ended
                heard.listen(client.get_job_logs(job_id))
                answered = time.monotonic()
            except (OSError, RuntimeError) as error:
                if time.monotonic() - answered > SILENCE_S:
                    raise JobFailed(
                        f"Ray's job API has not answered for {SILENCE_S:.0f} s: {error}"
                    ) from error
            else:
                if status.is_terminal() and heard.end is None:
                    raise _unsaid(client, job_id)
            time.sleep(0 if heard.end else pause)
            pause = min(LONGEST_PAUSE_S, pause * 1.1)
    except BaseException:
        with suppress(OSError, RuntimeError):  # it may have ended by itself, or the cluster is gone
            client.stop_job(job_id)
        raise
    kind, what = heard.end
    if kind == RESULT:
        return what
    raise (JobRefused if kind == REFUSED else JobFailed)(what)


def _unsaid(client: JobSubmissionClient, job_id: str) -> JobFailed:
    """The failure of a job that could not say it itself: killed, or never started."""
    info = client.get_job_info(job_id)
    message = f"job {job_id} {info.status.value.lower()}: {(info.message or '')[:2000]}"
    return JobStopped(message) if info.status == "STOPPED" else JobFailed(message)
