"""Which chunks a search may return, by what their documents declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes.codes import keys
from iotops.errors import IotOpsError

EPOCH = date(1970, 1, 1)
DAYS = ("updated_from", "updated_to")


class FilterError(IotOpsError):
    """A filter that the search does not know, or a value that it cannot take."""


@dataclass(frozen=True)
class Filters:
    """A chunk passes if, for each filter given, its document declares one of the values.

    Strict: a document that declares no model does not pass a filter on models, one without a date none on
    dates. Spelling is lenient as in `codes.code_key`. Days are UTC, both ends included.
    """

    models: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    error_codes: tuple[str, ...] = ()
    doc_type: tuple[str, ...] = ()
    updated_from: date | None = None
    updated_to: date | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Self:
        """Filters by name: a string, a list of strings, or a day; None and [] filter nothing."""
        known = [field.name for field in fields(cls)]
        given: dict[str, Any] = {}
        for name, value in (values or {}).items():
            if name not in known:
                raise FilterError(f"unknown filter {name!r}: use {', '.join(known)}")
            given[name] = _day(name, value) if name in DAYS else _strings(name, value)
        return cls(**given)

    def wanted(self) -> dict[str, set[str]]:
        """Keys asked for, by column; only the columns that are filtered by value."""
        names = (field.name for field in fields(self) if field.name not in DAYS)
        return {name: keys(given) for name in names if (given := getattr(self, name))}

    @property
    def days(self) -> tuple[int, int] | None:
        """First and last day of the updates, counted from 1970-01-01; None where they are not filtered."""
        if self.updated_from is None and self.updated_to is None:
            return None
        first, last = self.updated_from or date.min, self.updated_to or date.max
        return (first - EPOCH).days, (last - EPOCH).days

    def mask(self, chunks: pa.Table) -> NDArray[np.bool_] | None:
        """Which rows of a chunk table pass, shape (n,); None where nothing is filtered."""
        masks = [
            _passes(chunks.column(name).combine_chunks(), wanted) for name, wanted in self.wanted().items()
        ]
        if self.days is not None:
            updated = pc.cast(pc.cast(chunks.column("updated"), pa.date32(), safe=False), pa.int32())
            first, last = self.days
            between = pc.and_(pc.greater_equal(updated, first), pc.less_equal(updated, last))
            masks.append(np.asarray(pc.fill_null(between, False)))
        return np.logical_and.reduce(masks) if masks else None


def _strings(name: str, value: Any) -> tuple[str, ...]:
    wanted = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(item, str) for item in wanted):
        raise FilterError(f"filter {name!r} takes a string or a list of strings, not {value!r}")
    return tuple(wanted)


def _day(name: str, value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else _no_time(value)
    except (TypeError, ValueError):
        raise FilterError(f"filter {name!r} takes a day, e.g. 2026-05-31, not {value!r}") from None


def _no_time(value: Any) -> date | None:
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise TypeError(value)


def _passes(column: pa.Array, wanted: set[str]) -> NDArray[np.bool_]:
    if not pa.types.is_list(column.type):
        return np.asarray(pc.is_in(column, value_set=_spellings(column, wanted)))
    values, rows = pc.list_flatten(column), pc.list_parent_indices(column)
    passes = np.zeros(len(column), np.bool_)
    passes[np.asarray(rows.filter(pc.is_in(values, value_set=_spellings(values, wanted))))] = True
    return passes


def _spellings(values: pa.Array, wanted: set[str]) -> pa.Array:
    return pa.array([value for value in values.unique().to_pylist() if keys([value]) & wanted], pa.string())
