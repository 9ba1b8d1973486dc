"""What runs for ever in a Ray actor of its own: a gateway, or a member of a consumer group."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from iotops.kafka import Partition
from iotops.settings import Settings, get_settings

STOP_TIMEOUT_S = 30.0
PAUSE_S = 1.0
logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """What a worker has done since it started, and what is still to do.

    `lags` are the records that it has not read, by partition, for a member of a consumer group; `waiting`
    are those that it has read and not stored.
    """

    stored: int = 0
    commits: int = 0
    waiting: int = 0
    lags: dict[Partition, int] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """Records that are not read, of all partitions."""
        return sum(self.lags.values())


class Worker(Protocol):
    """Runs until it is told to stop; an error ends it, and it is started again."""

    progress: Progress

    def run(self) -> None:
        """Work until `stop`."""

    def stop(self) -> None:
        """End `run` after the batch in hand."""


class WorkerActor:
    """A worker in its own Ray actor: `max_restarts=-1` makes Ray start it again wherever it dies.

    It is made and runs beside the actor's methods; if either fails, the process ends with it, so that the
    restart is Ray's one mechanism for a crash, a kill and an error alike. (Ray gives an actor up whose
    constructor raises.)
    """

    def __init__(self, make: Callable[[Settings, int], Worker], number: int) -> None:
        self._worker: Worker | None = None
        self._made = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, number), daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[Settings, int], Worker], number: int) -> None:
        try:
            worker = self._worker = make(get_settings(), number)
            self._made.set()
            worker.run()
        except Exception:
            logger.exception("a worker failed and is started again")
            time.sleep(PAUSE_S)  # a server that is down must not make a tight loop of restarts
            os._exit(1)

    def wait(self) -> None:
        """Return when the worker is connected."""
        self._made.wait()

    def progress(self) -> Progress:
        """What this worker has done since it started."""
        return self._worker.progress if self._worker else Progress()

    def pid(self) -> int:
        """The process that it runs in."""
        return os.getpid()

    def stop(self) -> None:
        """Finish the batch in hand and disconnect."""
        if self._worker:
            self._worker.stop()
            self._thread.join(STOP_TIMEOUT_S)
