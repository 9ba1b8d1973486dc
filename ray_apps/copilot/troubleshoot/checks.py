"""Diagnostic checks: what a device's records say, each held against a threshold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ray_apps.copilot.evidence.sentences import at, still_open
from ray_apps.copilot.troubleshoot.contracts import Check

QUIET_AFTER = timedelta(hours=2)
NOTABLE = 1.0
"""Points of the health score from which a component is a finding."""
LIKELY_FAILURE = 0.3
COMPONENTS = {
    "anomaly": "a metric left its own past",
    "surge": "a metric moved within hours",
    "drift": "a metric differs from machines of the model",
    "slow_drift": "a metric creeps away over weeks",
    "failures": "a component failed",
    "maintenance": "service is due",
    "wear": "components are old",
}


def run(insights: dict[str, Any], now: datetime) -> list[Check]:
    """All checks of a device's records (`DeviceRecords.insights`), the failed ones first."""
    found = [
        reporting(insights, now),
        alerts(insights),
        errors(insights),
        *(component(insights, name) for name in COMPONENTS),
        risk(insights),
    ]
    order = {"failed": 0, "unknown": 1, "passed": 2}
    return sorted(found, key=lambda check: order[check.status])


def failing(checks: list[Check]) -> list[Check]:
    """Those that failed."""
    return [check for check in checks if check.status == "failed"]


def reporting(insights: dict[str, Any], now: datetime) -> Check:
    """Whether the device still reports."""
    threshold = f"a reading within {QUIET_AFTER.total_seconds() / 3600:.0f} h"
    if not insights["trend"]:
        return Check(
            name="reporting", status="failed", evidence="no reading is on record", threshold=threshold
        )
    last: datetime = insights["trend"][-1]["ts"]
    status = "passed" if now - last <= QUIET_AFTER else "failed"
    return Check(
        name="reporting",
        status=status,
        evidence=f"the last reading was at {last:%Y-%m-%d %H:%M} UTC",
        threshold=threshold,
    )


def alerts(insights: dict[str, Any]) -> Check:
    """Whether an alert is open."""
    opened = still_open(insights["alerts"])
    rules = ", ".join(sorted({alert["rule"] for alert in opened}))
    return Check(
        name="alerts",
        status="failed" if opened else "passed",
        evidence=f"{len(opened)} open: {rules}" if opened else "none is open",
        threshold="no open alert",
    )


def errors(insights: dict[str, Any]) -> Check:
    """Whether error codes came in the last day that there are records of."""
    codes = insights["recent_codes"]
    listed = ", ".join(f"{row['error_code']} ({row['times']} times)" for row in codes)
    last = max((row["latest"] for row in codes), default=None)
    return Check(
        name="error codes",
        status="failed" if codes else "passed",
        evidence=f"{listed}, the last at {at(last)}" if last else "none came",
        threshold="no error code in the last 24 h on record",
    )


def component(insights: dict[str, Any], name: str) -> Check:
    """Whether a component takes points from the health score."""
    threshold = f"under {NOTABLE:.0f} point of the health score"
    part = next((part for part in insights["components"] if part["component"] == name), None)
    if part is None:
        return Check(
            name=COMPONENTS[name], status="unknown", evidence="no health score yet", threshold=threshold
        )
    return Check(
        name=COMPONENTS[name],
        status="failed" if part["penalty"] >= NOTABLE else "passed",
        evidence=f"{part['detail']} ({part['penalty']:.1f} points)",
        threshold=threshold,
    )


def risk(insights: dict[str, Any]) -> Check:
    """Whether a failure is likely."""
    threshold = f"a probability under {LIKELY_FAILURE:.0%}"
    if not insights["risk"]:
        return Check(
            name="failure risk",
            status="unknown",
            evidence="too few failures to learn from",
            threshold=threshold,
        )
    worst = max(insights["risk"], key=lambda risk: risk["probability"])
    return Check(
        name="failure risk",
        status="failed" if worst["probability"] >= LIKELY_FAILURE else "passed",
        evidence=f"{worst['probability']:.0%} within {worst['horizon_hours']} h",
        threshold=threshold,
    )
