"""Which rows are the first of their key, by the numbers of the key columns' distinct values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.int64]
LARGEST = 2**62


def first_rows(rows: pa.Table, keys: Sequence[str], known: pa.Table | None = None) -> npt.NDArray[np.bool_]:
    """True for each row that is the first with its `keys`, and whose keys none of the `known` rows has.

    Nulls are equal to each other.
    """
    both = rows.select(keys)
    before = 0
    if known is not None and known.num_rows:
        before = known.num_rows
        both = pa.concat_tables([known.select(keys).cast(both.schema), both])
    _, first = np.unique(row_numbers(both), return_index=True)
    found = np.zeros(both.num_rows, np.bool_)
    found[first] = True
    return found[before:]


def row_numbers(rows: pa.Table) -> Numbers:
    """A number for each row; rows have the same one if they are equal in all columns."""
    numbers = np.zeros(rows.num_rows, np.int64)
    size = 1
    for column in rows.columns:
        own, distinct = value_numbers(column)
        if size * distinct >= LARGEST:
            kept, numbers = np.unique(numbers, return_inverse=True)
            size = len(kept)
        numbers = numbers * distinct + own
        size *= distinct
    return numbers


def ordered(rows: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.intp]:
    """The indices that sort the rows by the columns, ascending."""
    ranks = []
    for name in reversed(columns):
        numbers, distinct = value_numbers(rows[name], in_order=True)
        ranks.append(numbers.astype(np.int32) if distinct < 2**31 else numbers)
    indices: npt.NDArray[np.intp] = np.lexsort(ranks)
    return indices


def value_numbers(column: pa.ChunkedArray, in_order: bool = False) -> tuple[Numbers, int]:
    """A number below the returned count for each value of a column; by the values' order if `in_order`."""
    coded = column.combine_chunks()
    if not isinstance(coded, pa.DictionaryArray):
        coded = coded.dictionary_encode(null_encoding="encode")
    values: pa.Array = coded.dictionary
    numbers: Numbers = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    if in_order:
        ranks = np.empty(len(values) + 1, np.int64)
        ranks[pc.sort_indices(values).to_numpy()] = np.arange(len(values))
        ranks[-1] = len(values)
        numbers = ranks[numbers]
    return numbers, len(values) + 1
