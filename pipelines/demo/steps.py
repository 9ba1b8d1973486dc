"""Live progress of the demo: one line per step, with what it did and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


class Step:
    """A step that is running: `progress` shows where it stands, `result` what stays on its line."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.progress = show
        self.result = ""


class Steps:
    """Prints steps as they run; a broken step keeps its line and raises."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a spinner with `title` while the body runs, then a line with the result and the seconds."""
        started = time.monotonic()
        with self._console.status(title) as status:
            step = Step(lambda text: status.update(f"{title}: {text}"))
            try:
                yield step
            except BaseException:
                self._line("red", "failed", title, step, started)
                raise
        self._line("green", "done", title, step, started)

    def _line(self, colour: str, word: str, title: str, step: Step, started: float) -> None:
        detail = f"  [dim]{step.result}[/]" if step.result else ""
        took = f"{time.monotonic() - started:5.1f} s"
        self._console.print(f"[{colour}]{word:>6}[/] {took}  {title}{detail}", highlight=False)
