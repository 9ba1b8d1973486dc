"""Alert rules: what `configs/alerts.yaml` may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from iotops.configs import read_config
from iotops.records import Severity
from iotops.tenancy import Tenant
from pipelines.ingest.alerting.anomaly import ALERT

FILE = "alerts.yaml"
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _milliseconds(value: Any) -> Any:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+)([smhd])", value)):
        return int(found[1]) * UNITS_MS[found[2]]
    raise ValueError(f"{value!r} is not a duration: write a number with s, m, h or d, such as 10m")


Duration = Annotated[int, BeforeValidator(_milliseconds)]
"""Milliseconds; in YAML a number with its unit."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    severity: Severity
    tenants: frozenset[str] | None = None
    models: frozenset[str] | None = None

    def covers(self, model: str | None) -> bool:
        """Whether it holds for a device model."""
        return self.models is None or model in self.models


class ThresholdRule(_Rule):
    """A metric above or below a value for a time."""

    kind: Literal["threshold"]
    metric: str
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    held_for: Duration = Field(0, alias="for")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("give `above` or `below`, and not both")
        if self.clear is not None and (
            (self.above is not None and self.clear > self.above)
            or (self.below is not None and self.clear < self.below)
        ):
            raise ValueError(f"clear {self.clear} lies beyond the threshold: it must lie on the good side")
        return self

    def breached(self, value: float) -> bool:
        """Whether a value is beyond the threshold."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below

    def cleared(self, value: float) -> bool:
        """Whether a value is good again."""
        if self.above is not None:
            return value <= (self.above if self.clear is None else self.clear)
        good = self.below if self.clear is None else self.clear
        return good is not None and value >= good


class BurstRule(_Rule):
    """Several events of some types within a time."""

    kind: Literal["burst"]
    types: frozenset[str]
    count: int = Field(ge=1, le=1000)
    within: Duration


class SilenceRule(_Rule):
    """No reading for a time."""

    kind: Literal["silence"]
    after: Duration


class AnomalyRule(_Rule):
    """A value unlike the device's own past."""

    kind: Literal["anomaly"]
    metrics: frozenset[str] | None = None
    score: float = Field(ALERT, ge=ALERT, lt=1)
    clear_after: Duration = UNITS_MS["h"]


Kind = TypeVar("Kind", bound=_Rule)
Rule = Annotated[ThresholdRule | BurstRule | SilenceRule | AnomalyRule, Field(discriminator="kind")]


class RuleSet(BaseModel):
    """All rules, by unique name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: list[Rule]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [rule.name for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rules have the name {sorted(twice)[0]!r}")
        return self

    def of(self, kind: type[Kind], tenant: Tenant) -> list[Kind]:
        """Rules of a kind that hold for a tenant."""
        found = [rule for rule in self.rules if isinstance(rule, kind)]
        return [rule for rule in found if rule.tenants is None or tenant.id in rule.tenants]


def load_rules(configs: Path) -> RuleSet:
    """The rules of `alerts.yaml`; raises `SettingsError` that names the file, the rule and the remedy."""
    return read_config(configs / FILE, RuleSet)
