"""Measurements against `configs/readings.yaml`: in the unit that silver keeps, and in range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.lake.reading_rules import ReadingRules, StoredReading
from pipelines.lake.units import UnitError, conversion

Indices = npt.NDArray[np.intp]
Refusals = list[tuple[int, str]]
"""Rows of the measurements, and why each is refused."""


def check_measurements(
    measurements: pa.Table, readings: Sequence[StoredReading], rules: ReadingRules
) -> tuple[pa.Table, Refusals]:
    """The measurements in their rules' units, all of them, and those that are to be refused.

    `measurements` are those of `readings` (see `record_tables.measurement_table`).
    """
    metrics = measurements["metric"].combine_chunks()
    owners = measurements["reading"].to_numpy()
    values = measurements["value"].to_numpy().copy()
    numbers = metrics.indices.to_numpy()
    refused: Refusals = []
    for number, metric in enumerate(metrics.dictionary.to_pylist()):
        if metric not in rules.ruled:
            continue
        rows = np.flatnonzero(numbers == number)
        refused += _convert(metric, rows, values, owners, readings, rules)
        refused += _outside(metric, rows, values, owners, readings, rules)
    refused = list({row: (row, reason) for row, reason in reversed(refused)}.values())
    return measurements.set_column(2, "value", pa.array(values)), sorted(refused)


def _convert(
    metric: str,
    rows: Indices,
    values: npt.NDArray[np.float64],
    owners: npt.NDArray[np.int64],
    readings: Sequence[StoredReading],
    rules: ReadingRules,
) -> Iterator[tuple[int, str]]:
    """Convert in place; what is in a unit that cannot be converted is refused."""
    wanted = rules.unit(metric)
    if wanted is None:
        return
    sent: dict[str, list[int]] = {}
    for row in rows:
        units = readings[owners[row]].units
        if units and units.get(metric, wanted) != wanted:
            sent.setdefault(units[metric], []).append(int(row))
    for unit, chosen in sent.items():
        try:
            factor, offset = conversion(unit, wanted)
        except UnitError as error:
            yield from ((row, f"unknown_unit: metrics.{metric} is in {error}") for row in chosen)
        else:
            values[chosen] = values[chosen] * factor + offset


def _outside(
    metric: str,
    rows: Indices,
    values: npt.NDArray[np.float64],
    owners: npt.NDArray[np.int64],
    readings: Sequence[StoredReading],
    rules: ReadingRules,
) -> Iterator[tuple[int, str]]:
    """What lies outside the limits of its device model."""
    models = {None, *rules.models}
    narrowing = [rules.limits(metric, model) for model in models]
    low = max((each.min if each.min is not None else -np.inf) for each in narrowing)
    high = min((each.max if each.max is not None else np.inf) for each in narrowing)
    # Few are outside the narrowest limits of all models: only these are looked at one by one.
    for row in rows[(values[rows] < low) | (values[rows] > high)]:
        model = readings[owners[row]].model
        limits = rules.limits(metric, model)
        if not limits.hold(values[row]):
            unit = f" {rules.unit(metric)}" if rules.unit(metric) else ""
            of_model = f" for model {model}" if model in rules.models else ""
            yield int(row), f"out_of_range: metrics.{metric} {values[row]:g}{unit} is not {limits}{of_model}"
