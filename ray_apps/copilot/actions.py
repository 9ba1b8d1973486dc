"""Suggested actions: the rules of `configs/insights.yaml` over a device's health components."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from iotops.configs import read_config
from ray_apps.copilot.contracts import Citation, SuggestedAction

NONE: Mapping[str, Citation] = MappingProxyType({})


Component = Literal[
    "anomaly",
    "surge",
    "slow_drift",
    "drift",
    "errors",
    "alerts",
    "failures",
    "staleness",
    "maintenance",
    "wear",
]


class ActionRule(BaseModel):
    """Advice for a component that takes at least so many points."""

    model_config = ConfigDict(extra="forbid")

    name: str
    component: Component
    penalty_at_least: float = Field(ge=0, le=100)
    action: str
    documents: str = Field("", description="What its runbook is looked for by; empty: it has none.")

    @field_validator("documents")
    @classmethod
    def _knows_its_names(cls, documents: str) -> str:
        try:
            documents.format(code="", model="")
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"{documents!r} may name {{code}} and {{model}}, and nothing else") from None
        return documents


class ActionRules(BaseModel):
    """The content of `configs/insights.yaml`."""

    model_config = ConfigDict(extra="forbid")

    rules: list[ActionRule]


def load_rules(configs: Path) -> list[ActionRule]:
    """The rules of `insights.yaml`; raises `SettingsError` that names the file, the rule and the remedy."""
    return read_config(configs / "insights.yaml", ActionRules).rules


def suggest(
    rules: list[ActionRule], components: list[dict[str, Any]], runbooks: Mapping[str, Citation] = NONE
) -> list[SuggestedAction]:
    """Advice for each component whose rule fires, the heaviest first; `runbooks` by the names of rules."""
    return [
        SuggestedAction(
            action=rule.action, rule=rule.name, because=component["detail"], runbook=runbooks.get(rule.name)
        )
        for rule, component in fired(rules, components)
    ]


def fired(
    rules: list[ActionRule], components: list[dict[str, Any]]
) -> list[tuple[ActionRule, dict[str, Any]]]:
    """The rules that fire, each with its component, the heaviest first."""
    heaviest = sorted(components, key=lambda component: -component["penalty"])
    return [
        (rule, component)
        for component in heaviest
        for rule in rules
        if rule.component == component["component"] and component["penalty"] >= rule.penalty_at_least
    ]
