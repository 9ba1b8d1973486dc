"""Where commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import orjson
from rich.console import Console

results = Console()
errors = Console(stderr=True)


def print_json(value: Any) -> None:
    """Print a result as indented JSON, for scripts."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode())


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
