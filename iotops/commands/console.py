"""Where commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.text import Text

results = Console()
errors = Console(stderr=True)
LINE_EVERY_S = 10.0


def print_json(value: Any) -> None:
    """Print a result as indented JSON, for scripts."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode())


def print_columns(*rows: Sequence[str]) -> None:
    """Print rows below each other, each on one line however long: what is to be copied stays whole."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # not a table of rich, which cuts or folds what is wider than the terminal
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def cell(text: str) -> Text:
    """What others have named or written, for a table: it is no markup, and is folded rather than cut."""
    return Text(text, overflow="fold")


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """Say how long work goes on: in place on a terminal, else (a log) a line each `LINE_EVERY_S`."""
    if errors.is_terminal:
        with errors.status(title) as status:
            yield lambda message: status.update(escape(message))
        return
    said = time.monotonic()

    def say(message: str) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY_S:
            said = time.monotonic()
            errors.print(message, markup=False, highlight=False)

    yield say


def quiet() -> None:
    """Keep the chatter of libraries off the terminal: a command reports its own progress and errors."""
    os.environ.update(
        {
            "TQDM_DISABLE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        }
    )
    warnings.simplefilter("ignore")
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    logging.basicConfig(handlers=[handler])
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # a probe of a broker that starts is no error
