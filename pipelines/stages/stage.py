"""What a stage is: a function of a tenant that says what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from iotops.settings import Settings

if TYPE_CHECKING:
    from pipelines.lineage import Run

Counts = dict[str, int | str]
Progress = Callable[[str], None]
MOST_ROWS = 500
"""Rows of an artifact's table at most, the newest."""


@dataclass(frozen=True)
class Parameters:
    """What a stage is limited to: arrival hours or event days (UTC); nothing means what has changed."""

    hours: tuple[datetime, ...] = ()
    days: tuple[date, ...] = ()


@dataclass(frozen=True)
class StageResult:
    """What a stage did: totals by name, a row per part of the work, and what is in quarantine by reason."""

    counts: Counts
    rows: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What a person should look at, though the stage succeeded."""


@dataclass(frozen=True)
class Stage:
    """A stage: what runs it for a tenant, or, if `for_shared`, for the shelf that all tenants share."""

    description: str
    run: Callable[[Settings, str, Parameters, Progress, Run], StageResult]
    for_shared: bool = False
    takes: frozenset[str] = frozenset()
    """Which of the `Parameters` it knows."""
