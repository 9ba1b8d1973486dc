"""Suggested actions: the rules of `configs/insights.yaml` over a device's health components."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, Field, field_validator

from ray_apps.copilot.contracts import Citation, SuggestedAction

NONE: Mapping[str, Citation] = MappingProxyType({})


class ActionRule(BaseModel):
    """Advice for a component that takes at least so many points."""

    name: str
    component: str
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


def load_rules(configs: Path) -> list[ActionRule]:
    """The rules as configured."""
    document = yaml.safe_load((configs / "insights.yaml").read_text())
    return [ActionRule.model_validate(rule) for rule in document["rules"]]


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
