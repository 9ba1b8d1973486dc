"""What `configs/readings.yaml` may say of readings: units, ranges, and fields that become columns."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import msgspec
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
)

from iotops.configs import read_config
from iotops.records import Reading
from pipelines.lake.units import check_unit

FILE = "readings.yaml"
FieldType = Literal["boolean", "int", "long", "float", "double", "string"]
ICEBERG: dict[FieldType, IcebergType] = {
    "boolean": BooleanType(), "int": IntegerType(), "long": LongType(), "float": FloatType(),
    "double": DoubleType(), "string": StringType(),
}  # fmt: skip
ARROW: dict[FieldType, pa.DataType] = {
    "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "string": pa.dictionary(pa.int32(), pa.string()),
}  # fmt: skip
JSON: dict[FieldType, Any] = {
    "boolean": bool,
    "int": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float": float,
    "double": float,
    "string": Annotated[str, msgspec.Meta(max_length=4096)],
}


class StoredReading(Reading, gc=False):
    """A reading as the gateways write it: `ts` is epoch milliseconds."""

    ts: int
    units: dict[str, str] | None = None


class Limits(BaseModel):
    """The least and the largest value that a metric can have, in its unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is larger than max {self.max:g}")
        return self

    def hold(self, value: float) -> bool:
        """Whether a value lies within."""
        return not (
            (self.min is not None and value < self.min) or (self.max is not None and value > self.max)
        )

    def __str__(self) -> str:
        ends = (("at least", self.min), ("at most", self.max))
        return " and ".join(f"{words} {end:g}" for words, end in ends if end is not None)


class MetricRule(Limits):
    """A metric's unit and limits."""

    unit: str | None = None

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str | None) -> str | None:
        return None if unit is None else check_unit(unit)


class ReadingRules(BaseModel):
    """The rules for readings of all tenants."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[str, MetricRule] = Field(default_factory=dict)
    models: dict[str, dict[str, Limits]] = Field(default_factory=dict)
    fields: dict[str, FieldType] = Field(default_factory=dict)

    @field_validator("fields")
    @classmethod
    def _free(cls, fields: dict[str, FieldType]) -> dict[str, FieldType]:
        from pipelines.lake.silver_tables import TABLES

        if taken := fields.keys() & {*TABLES["telemetry"], *StoredReading.__struct_fields__, "v"}:
            raise ValueError(f"{sorted(taken)[0]!r} is a column or a field of the contract already")
        return fields

    @property
    def columns(self) -> dict[str, IcebergType]:
        """The columns of silver that the fields become."""
        return {name: ICEBERG[kind] for name, kind in self.fields.items()}

    @property
    def arrow_fields(self) -> list[pa.Field]:
        """The same as Arrow fields of decoded readings."""
        return [pa.field(name, ARROW[kind]) for name, kind in self.fields.items()]

    @cached_property
    def contract(self) -> type[StoredReading]:
        """The contract of a stored reading with the fields."""
        optional = [(name, JSON[kind] | None, None) for name, kind in self.fields.items()]
        extended = msgspec.defstruct("ExtendedReading", optional, bases=(StoredReading,), gc=False)
        return cast(type[StoredReading], extended)

    @cached_property
    def ruled(self) -> frozenset[str]:
        """The metrics that have a rule."""
        return frozenset(chain(self.metrics, *self.models.values()))

    def unit(self, metric: str) -> str | None:
        """The unit that silver keeps a metric in; None where nothing is said."""
        return self.metrics[metric].unit if metric in self.metrics else None

    def limits(self, metric: str, model: str | None) -> Limits:
        """The limits of a metric on a device model; a model's own stand in the place of each general one."""
        general = self.metrics.get(metric, MetricRule())
        own = self.models.get(model or "", {}).get(metric, Limits())
        return Limits(
            min=general.min if own.min is None else own.min, max=general.max if own.max is None else own.max
        )


def load_reading_rules(configs: Path) -> ReadingRules:
    """The rules of `readings.yaml`; raises `SettingsError` that names the file, the rule and the remedy."""
    return read_config(configs / FILE, ReadingRules)
