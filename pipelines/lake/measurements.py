"""Measurements against `configs/readings.yaml`: in the unit that silver keeps, and in range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
        if metric in rules.ruled:
            measured = _Measured(metric, np.flatnonzero(numbers == number), values, owners, readings, rules)
            refused += measured.convert()
            refused += measured.outside()
    refused = list({row: (row, reason) for row, reason in reversed(refused)}.values())
    return measurements.set_column(2, "value", pa.array(values)), sorted(refused)


@dataclass(frozen=True)
class _Measured:
    """The `rows` that hold one metric, among the `values` of all and the readings that own them."""

    metric: str
    rows: Indices
    values: npt.NDArray[np.float64]
    owners: npt.NDArray[np.int64]
    readings: Sequence[StoredReading]
    rules: ReadingRules

    def convert(self) -> Iterator[tuple[int, str]]:
        """Convert in place; what is in a unit that cannot be converted is refused."""
        wanted = self.rules.unit(self.metric)
        if wanted is None:
            return
        sent: dict[str, list[int]] = {}
        for row in self.rows:
            units = self.readings[self.owners[row]].units
            if units and units.get(self.metric, wanted) != wanted:
                sent.setdefault(units[self.metric], []).append(int(row))
        for unit, chosen in sent.items():
            try:
                factor, offset = conversion(unit, wanted)
            except UnitError as error:
                reason = f"unknown_unit: metrics.{self.metric} is in {error}"
                yield from ((row, reason) for row in chosen)
            else:
                self.values[chosen] = self.values[chosen] * factor + offset

    def outside(self) -> Iterator[tuple[int, str]]:
        """What lies outside the limits of its device model."""
        narrowing = [self.rules.limits(self.metric, model) for model in {None, *self.rules.models}]
        low = max((each.min if each.min is not None else -np.inf) for each in narrowing)
        high = min((each.max if each.max is not None else np.inf) for each in narrowing)
        values = self.values[self.rows]
        # Few are outside the narrowest limits of all models: only these are looked at one by one.
        for row in self.rows[(values < low) | (values > high)]:
            model = self.readings[self.owners[row]].model
            limits, value = self.rules.limits(self.metric, model), self.values[row]
            if not limits.hold(value):
                unit = f" {self.rules.unit(self.metric)}" if self.rules.unit(self.metric) else ""
                of_model = f" for model {model}" if model in self.rules.models else ""
                yield (
                    int(row),
                    f"out_of_range: metrics.{self.metric} {value:g}{unit} is not {limits}{of_model}",
                )
