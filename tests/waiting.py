"""Waiting for what comes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(what: Callable[[], Any], timeout_s: float = 120, pause_s: float = 0.1) -> Any:
    """The first true answer of `what`, which is asked again after a pause."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(pause_s)
    return found
