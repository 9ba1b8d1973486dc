"""Which chunks a search may return: filters on device model, error code and type of document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes.codes import keys
from iotops.errors import IotOpsError


class FilterError(IotOpsError):
    """A filter that the search does not know, or a value that it cannot take."""


@dataclass(frozen=True)
class Filters:
    """A chunk passes if, for each filter given, its document declares one of the values.

    Strict: a document that declares no model does not pass a filter on models. Spelling is lenient as in
    `codes.code_key`.
    """

    models: tuple[str, ...] = ()
    error_codes: tuple[str, ...] = ()
    doc_type: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Self:
        """Filters as HTTP brings them: a string or a list of strings by name; None, [] filter nothing."""
        known = [field.name for field in fields(cls)]
        given: dict[str, tuple[str, ...]] = {}
        for name, value in (values or {}).items():
            if name not in known:
                raise FilterError(f"unknown filter {name!r}: use {', '.join(known)}")
            wanted = [value] if isinstance(value, str) else [] if value is None else value
            if not isinstance(wanted, (list, tuple)) or not all(isinstance(item, str) for item in wanted):
                raise FilterError(f"filter {name!r} takes a string or a list of strings, not {value!r}")
            given[name] = tuple(wanted)
        return cls(**given)

    def wanted(self) -> dict[str, set[str]]:
        """Keys asked for, by column; only the columns that are filtered."""
        return {field.name: keys(given) for field in fields(self) if (given := getattr(self, field.name))}

    def mask(self, chunks: pa.Table) -> NDArray[np.bool_] | None:
        """Which rows of a chunk table pass, shape (n,); None where nothing is filtered."""
        mask: NDArray[np.bool_] | None = None
        for name, wanted in self.wanted().items():
            passes = _passes(chunks.column(name).combine_chunks(), wanted)
            mask = passes if mask is None else mask & passes
        return mask


def _passes(column: pa.Array, wanted: set[str]) -> NDArray[np.bool_]:
    if not pa.types.is_list(column.type):
        return np.asarray(pc.is_in(column, value_set=_spellings(column, wanted)))
    values, rows = pc.list_flatten(column), pc.list_parent_indices(column)
    passes = np.zeros(len(column), np.bool_)
    passes[np.asarray(rows.filter(pc.is_in(values, value_set=_spellings(values, wanted))))] = True
    return passes


def _spellings(values: pa.Array, wanted: set[str]) -> pa.Array:
    return pa.array([value for value in values.unique().to_pylist() if keys([value]) & wanted], pa.string())
