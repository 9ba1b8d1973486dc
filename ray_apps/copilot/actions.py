"""Suggested actions: the rules of `configs/insights.yaml` over a device's health components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field

from ray_apps.copilot.contracts import Citation, SuggestedAction


class ActionRule(BaseModel):
    """Advice for a component that takes at least so many points."""

    name: str
    component: str
    penalty_at_least: float = Field(ge=0, le=100)
    action: str


def load_rules(configs: Path) -> list[ActionRule]:
    """The rules as configured."""
    document = yaml.safe_load((configs / "insights.yaml").read_text())
    return [ActionRule.model_validate(rule) for rule in document["rules"]]


def suggest(
    rules: list[ActionRule], components: list[dict[str, Any]], runbook: Citation | None = None
) -> list[SuggestedAction]:
    """Advice for each component whose rule fires, the heaviest first, each with the device's runbook."""
    heaviest = sorted(components, key=lambda component: -component["penalty"])
    return [
        SuggestedAction(action=rule.action, rule=rule.name, because=component["detail"], runbook=runbook)
        for component in heaviest
        for rule in rules
        if rule.component == component["component"] and component["penalty"] >= rule.penalty_at_least
    ]
