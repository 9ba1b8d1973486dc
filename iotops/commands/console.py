"""Where commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

from typing import Any

import orjson
from rich.console import Console

results = Console()
errors = Console(stderr=True)


def print_json(value: Any) -> None:
    """Print a result as indented JSON, for scripts."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode())
