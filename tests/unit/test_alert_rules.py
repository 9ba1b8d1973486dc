from __future__ import annotations

from pathlib import Path

import pytest

from iotops.errors import SettingsError
from iotops.tenancy import Tenant
from pipelines.ingest.alerting.rules import BurstRule, RuleSet, ThresholdRule, load_rules

HOT = {"name": "hot", "kind": "threshold", "metric": "temp", "above": 80, "severity": "error"}


def written(folder: Path, rules: str) -> Path:
    (folder / "alerts.yaml").write_text(rules)
    return folder


def test_the_rules_that_come_with_the_product_are_sound() -> None:
    assert load_rules(Path(__file__).parents[2] / "configs").of(BurstRule, Tenant("acme"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"above": None}, "give `above` or `below`"),
        ({"below": 10}, "give `above` or `below`"),
        ({"clear": 90}, "clear 90.0 lies beyond the threshold"),
        ({"for": "soon"}, "'soon' is not a duration: write a number with s, m, h or d"),
        ({"severity": "awful"}, "severity"),
        ({"kind": "guess"}, "guess"),
        ({"abov": 3}, "abov"),
        ({"name": "Hot!"}, "name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named(change: dict[str, object], told: str) -> None:
    rule = {key: value for key, value in {**HOT, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=told):
        RuleSet.model_validate({"rules": [rule]})


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "rules:\n" + "  - {name: a, kind: silence, after: 5m, severity: info}\n" * 2
    with pytest.raises(SettingsError, match=r"alerts\.yaml.*two rules have the name 'a'"):
        load_rules(written(tmp_path, text))


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"alerts\.yaml"):
        load_rules(written(tmp_path, "rules: ["))


def test_rules_hold_for_the_tenants_and_models_that_they_name() -> None:
    rules = RuleSet.model_validate({"rules": [{**HOT, "tenants": ["acme"], "models": ["HX-200"]}]})
    assert rules.of(ThresholdRule, Tenant("rival")) == []
    [rule] = rules.of(ThresholdRule, Tenant("acme"))
    assert [rule.covers(model) for model in ("HX-200", "CR-310", None)] == [True, False, False]
