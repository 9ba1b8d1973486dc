"""Figures as they come: percentiles of latencies, and the JSON file that grows with each part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PERCENTILES = (50, 95, 99)


class Figures:
    """What was measured so far; a long run that breaks off has not been for nothing."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._found: dict[str, Any] = {}

    def add(self, part: str, name: str, found: Any) -> None:
        """Keep a finding of a part under a name, and write all to the file."""
        self._found.setdefault(part, {})[name] = found
        if self._file is not None:
            self._file.write_text(json.dumps(self._found, indent=2) + "\n", encoding="utf-8")


def latencies(milliseconds: Sequence[float]) -> dict[str, float]:
    """`p50_ms`, `p95_ms` and `p99_ms`."""
    values = np.percentile(milliseconds, PERCENTILES)
    return {f"p{at}_ms": float(value) for at, value in zip(PERCENTILES, values, strict=True)}


def cells(found: dict[str, float], digits: int = 1) -> list[str]:
    """The percentiles as a table shows them."""
    return [f"{found[f'p{at}_ms']:.{digits}f}" for at in PERCENTILES]


def overlap(found: Sequence[Sequence[Any]], expected: Sequence[Sequence[Any]]) -> float:
    """Mean share of what was expected that was found."""
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found, expected, strict=True) if len(b)]))
