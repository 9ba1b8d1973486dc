"""Which document stands beside which advised action."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from ray.serve.handle import DeploymentHandle

from iotops.errors import SettingsError
from iotops.tenancy import Tenant
from pipelines.lake.health import PENALTIES
from ray_apps.copilot.actions import Component, fired, load_rules, suggest
from ray_apps.copilot.troubleshoot.runbooks import Runbooks
from tests.unit.guards import rules_alone

ACME = Tenant("acme")
DEVICE: dict[str, Any] = {"model": "HX-200", "codes": [{"error_code": "E421", "latest": 1}]}
RULES = load_rules(Path(__file__).parents[2] / "configs")


class Shelf:
    """A retriever that remembers what it is asked, and finds what fits so well."""

    def __init__(self, cosine: float) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.search, self._cosine = self, cosine

    def options(self, **_: Any) -> Shelf:
        return self

    async def remote(self, tenant: str, query: str, top_k: int, filters: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((query, filters))
        hit = {
            "doc_id": query, "chunk_id": query, "title": query, "uri": f"lake://{query}", "start": 0,
            "section": "Immediate actions", "text": "1. Stop the pump.\n2. Call for help.",
            "scores": {"vector": self._cosine},
        }  # fmt: skip
        return {"hits": [hit]}


def about(shelf: Shelf) -> Runbooks:
    return Runbooks(cast(DeploymentHandle, shelf), rules_alone())


def runbooks(shelf: Shelf, *components: str) -> dict[str, str]:
    parts = [{"component": name, "penalty": 50.0, "detail": name} for name in components]
    rules = [rule for rule, _ in fired(RULES, parts)]
    found = asyncio.run(about(shelf).about(ACME, DEVICE, rules))
    actions = suggest(RULES, parts, found)
    return {each.rule: each.runbook.title for each in actions if each.runbook}


def test_each_action_has_the_runbook_that_tells_of_it():
    shelf = Shelf(cosine=0.6)
    assert runbooks(shelf, "errors", "alerts", "maintenance", "failures") == {
        "errors-recent": "E421 immediate actions",
        "alerts-open": "E421 immediate actions",
        "service-due": "HX-200 maintenance schedule: service intervals",
    }
    assert sorted(shelf.asked) == [
        ("E421 immediate actions", {"error_codes": ["e421"]}),
        ("HX-200 maintenance schedule: service intervals", {}),
    ], "each once"


def test_a_document_that_hardly_fits_is_none_unless_it_declares_the_code():
    assert runbooks(Shelf(cosine=0.2), "errors", "maintenance") == {"errors-recent": "E421 immediate actions"}


def test_where_no_code_was_reported_none_is_looked_for():
    shelf = Shelf(cosine=0.6)
    rules = [rule for rule in RULES if rule.name == "errors-recent"]
    assert (
        asyncio.run(
            Runbooks(cast(DeploymentHandle, shelf), rules_alone()).about(ACME, DEVICE | {"codes": []}, rules)
        )
        == {}
    )
    assert shelf.asked == []


def test_a_rule_can_be_about_each_component_of_the_health_score():
    assert set(get_args(Component)) == set(PENALTIES)


RULE = "rules: [{name: r, component: wear, penalty_at_least: 1, action: Act., %s}]"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (RULE % "documents: '{device} manual'", r"rules.0.documents: .*may name \{code\} and \{model\}"),
        (RULE % "document: manual", "rules.0.document: Extra inputs"),
        (RULE.replace("wear", "waer") % "", "rules.0.component: .*'wear'"),
        ("rule: []", "rules: Field required; rule: Extra inputs"),
        ("", "rules: Field required"),
        ("rules: [", "line 1"),
        (None, "No such file"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_by_name(tmp_path, content, told):
    if content is not None:
        (tmp_path / "insights.yaml").write_text(content)
    with pytest.raises(SettingsError, match=rf"insights\.yaml.*{told}"):
        load_rules(tmp_path)
