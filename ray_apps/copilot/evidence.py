"""Evidence for an answer: what the device's records and the documents say, as passages."""

from __future__ import annotations

from typing import Any

from ray_apps.copilot.actions import ActionRule, suggest
from ray_apps.copilot.contracts import ToolCall
from ray_apps.copilot.grounding import Passage

RECENT_ERRORS = 5


def device_passage(insights: dict[str, Any], rules: list[ActionRule]) -> Passage:
    """A device's record in sentences, as a source that can be cited like a document."""
    device, model = insights["device_id"], insights["model"]
    lines = []
    if insights["score"] is not None:
        lines.append(
            f"The health score of {device} ({model}) is {insights['score']:.0f} of 100 on {insights['day']}."
        )
        lines += [component["detail"] for component in insights["components"] if component["penalty"] > 0]
    errors = [event for event in insights["events"] if event["error_code"]][:RECENT_ERRORS]
    if errors:
        listed = ", ".join(f"{event['error_code']} at {event['ts']:%Y-%m-%d %H:%M}" for event in errors)
        lines.append(f"The last error codes of {device} are {listed} UTC.")
    lines += [suggestion.action for suggestion in suggest(rules, insights["components"])]
    text = "\n\n".join(line if line.endswith(".") else f"{line}." for line in lines)
    return Passage(f"device:{device}", f"Device {device}", f"/insights/{device}", "Health", text, 0)


def device_query(insights: dict[str, Any]) -> str:
    """What to look up in the documents about a device: its model, its last codes, what is wrong with it."""
    codes = dict.fromkeys(event["error_code"] for event in insights["events"] if event["error_code"])
    details = [component["detail"] for component in insights["components"][:1] if component["penalty"] > 0]
    return " ".join([*list(codes)[:2], insights["model"] or "", *details, "likely causes, immediate actions"])


def device_tools(insights: dict[str, Any]) -> list[ToolCall]:
    """The look-ups that were made for a device, as the answer reports them."""
    device = insights["device_id"]
    metrics = {name: insights[name] for name in ("model", "day", "score", "components")}
    latest = insights["trend"][-1] if insights["trend"] else None
    return [
        ToolCall(
            name="get_device_metrics",
            arguments={"device_id": device},
            result={**metrics, "latest": latest},
        ),
        ToolCall(
            name="get_incident_history",
            arguments={"device_id": device},
            result={"events": insights["events"]},
        ),
    ]


def fleet_passage(worst: list[dict[str, Any]]) -> Passage:
    """The fleet's least healthy devices in sentences."""
    lines = [
        f"{row['device_id']} ({row['model']}) has a health score of {row['score']:.0f} of 100: "
        f"{row['detail']}"
        for row in worst
    ]
    return Passage("fleet:health", "Fleet health", "/insights", "Worst devices", "\n\n".join(lines), 0)


def document_passages(hits: list[dict[str, Any]]) -> list[Passage]:
    """Search hits as passages."""
    return [
        Passage(hit["doc_id"], hit["title"], hit["uri"], hit["section"], hit["text"], hit["start"])
        for hit in hits
    ]
