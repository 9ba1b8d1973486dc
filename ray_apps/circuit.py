"""A circuit breaker: what has failed several times in a row is left alone for a while, then tried once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from ray_apps.chat import Busy, EngineError, RequestRefused

FAILURES = 3
COOLDOWN_S = 15.0

State = Literal["closed", "open", "half-open"]


class CircuitOpen(EngineError):
    """A model that failed a moment ago is not asked."""


class Circuit:
    """Of one model in one process; of one event loop.

    `failures` in a row open it. `cooldown_s` later one attempt is let through: it closes the circuit, or
    opens it for as long again. `clock` counts seconds.
    """

    def __init__(
        self,
        failures: int = FAILURES,
        cooldown_s: float = COOLDOWN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._cooldown_s, self._clock = failures, cooldown_s, clock
        self._failures, self._open_until, self._trying = 0, 0.0, False
        self.said = 0
        """How often the model said something, to whoever asked: while it does, who waits is in a queue."""

    @property
    def state(self) -> State:
        """Closed: every attempt is let through; open: none; half-open: one."""
        if self._failures < self._most:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    @property
    def admits(self) -> bool:
        """Whether an attempt would be let through now."""
        return self.state == "closed" or (self.state == "half-open" and not self._trying)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt, judged by how it ends; raises `CircuitOpen` where none is let through.

        A request that is refused for its own sake, and an answer of which the reader had enough, show that
        the model works. One that is busy, or whose reader went before anything came, show nothing.
        """
        if not self.admits:
            raise CircuitOpen(f"it failed {self._failures} times in a row and is left alone for a while")
        trial = self.state == "half-open"
        self._trying = self._trying or trial
        try:
            yield
        except (RequestRefused, GeneratorExit):  # a generator is left where it yields: after a piece
            self._failures = 0
            raise
        except Busy:
            raise
        except Exception:
            self._failures += 1
            self._open_until = self._clock() + self._cooldown_s
            raise
        else:
            self._failures = 0
        finally:
            if trial:
                self._trying = False
