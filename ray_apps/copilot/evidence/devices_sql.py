"""What is asked of the database about devices; row-level security keeps other tenants' rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import TextClause, text

from indexes.codes import code_key
from ray_apps.copilot.question.conditions import Condition
from ray_apps.copilot.question.mentions import Bound
from ray_apps.copilot.question.period import EVER

HEALTH = text("""
    SELECT day, model, score, readings, errors FROM gold.device_health
    WHERE device_id = :device AND day < :until ORDER BY day DESC LIMIT 1""")
DAY = text("SELECT max(day) FROM gold.device_health WHERE day < :until")
COMPONENTS = text("""
    SELECT component, value, penalty, weight, detail FROM gold.device_health_components
    WHERE device_id = :device AND day = :day ORDER BY penalty DESC, component""")
RISK = text("""
    SELECT horizon_hours, probability FROM gold.failure_risk
    WHERE device_id = :device AND day = :day ORDER BY horizon_hours""")
EVENTS = text("""
    SELECT ts, type, severity, error_code, message FROM silver.events
    WHERE device_id = :device ORDER BY ts DESC LIMIT :limit""")
EVENTS_WITHIN = text("""
    SELECT * FROM (
        SELECT ts, type, severity, error_code, message FROM silver.events
        WHERE device_id = :device AND ts >= :since AND ts < :until
        ORDER BY error_code IS NULL, ts DESC LIMIT :limit
    ) chosen ORDER BY ts DESC""")
ALERTS = text("""
    SELECT alert_id::text, rule, kind, metric, severity, opened_at, resolved_at, resolved_because, evidence
    FROM silver.alerts
    WHERE device_id = :device AND opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since)
    ORDER BY resolved_at IS NOT NULL, opened_at DESC LIMIT :limit""")
TREND = text("""
    SELECT * FROM (
        SELECT ts, metrics FROM silver.telemetry
        WHERE device_id = :device AND ts >= :since AND ts < :until ORDER BY ts DESC LIMIT :limit
    ) latest ORDER BY ts""")
NEWEST = text("""
    SELECT greatest((SELECT max(ts) FROM silver.telemetry WHERE device_id = :device),
        (SELECT max(ts) FROM silver.events WHERE device_id = :device))""")
KNOWN = text("""
    SELECT name FROM unnest(CAST(:names AS text[])) AS name
    WHERE EXISTS (SELECT FROM gold.device_health WHERE device_id = name)
        OR EXISTS (SELECT FROM silver.telemetry WHERE device_id = name)
        OR EXISTS (SELECT FROM silver.events WHERE device_id = name)""")
_COUNTED = """
    SELECT error_code, sum(times)::bigint AS times, max(latest) AS latest, count(*) AS devices,
        (array_agg(device_id ORDER BY times DESC, device_id))[1:3] AS named
    FROM (
        SELECT error_code, device_id, count(*) AS times, max(ts) AS latest
        FROM ({}) reported GROUP BY error_code, device_id
    ) by_device
    GROUP BY error_code ORDER BY times DESC, latest DESC"""
_ERRORS = """
    SELECT device_id, ts, type, severity, error_code, message FROM silver.events
    WHERE error_code IS NOT NULL AND ts >= :since AND ts < :until"""
# Spelt as `code_key` has it.
_KEY = r"""lower(regexp_replace(regexp_replace(error_code, '(?<=\d)[-_/\s]+(?=\d)', '-', 'g'),
    '(?<!\d)[-_/\s]|[-_/\s](?!\d)', '', 'g'))"""
# Before the limit: else a code that is not among the latest would be none.
_ASKED = f"(CAST(:keys AS text[]) IS NULL OR {_KEY} = ANY(CAST(:keys AS text[])))"
_COUNTS = f"(CAST(:other_codes AS text[]) IS NULL OR {_KEY} <> ALL(CAST(:other_codes AS text[])))"
_WANTED = f"{_ASKED} AND {_COUNTS}"
# The newest first, until there is one: most codes that are asked for were reported a short while ago.
REPORTED = text(f"""
    SELECT key FROM unnest(CAST(:keys AS text[])) AS key
    WHERE (SELECT true FROM silver.events
        WHERE error_code IS NOT NULL AND {_KEY} = key ORDER BY ts DESC LIMIT 1)""")
CODES = text(_COUNTED.format(f"{_ERRORS} AND device_id = :device ORDER BY ts DESC LIMIT :limit"))
ASKED_CODES = text(_COUNTED.format(f"{_ERRORS} AND device_id = :device AND {_ASKED}"))
_KEPT = f"""(CAST(:other_devices AS text[]) IS NULL OR device_id <> ALL(CAST(:other_devices AS text[])))
    AND (CAST(:without_codes AS text[]) IS NULL OR device_id NOT IN (
        SELECT device_id FROM ({_ERRORS} AND {_KEY} = ANY(CAST(:without_codes AS text[]))) had))"""
_OF_THEM = f"""(CAST(:models AS text[]) IS NULL OR model = ANY(CAST(:models AS text[])))
    AND (CAST(:other_models AS text[]) IS NULL OR coalesce(model, '') <> ALL(CAST(:other_models AS text[])))
    AND {_KEPT}"""
_MODELS = """SELECT device_id FROM gold.device_health
    WHERE day = (SELECT max(day) FROM gold.device_health) AND model = ANY(CAST({} AS text[]))"""
_BY_THEM = f"""(CAST(:models AS text[]) IS NULL OR device_id IN ({_MODELS.format(":models")}))
    AND (CAST(:other_models AS text[]) IS NULL OR device_id NOT IN ({_MODELS.format(":other_models")}))
    AND {_KEPT}"""
FLEET_EVENTS = text(f"{_ERRORS} AND {_WANTED} AND {_BY_THEM} ORDER BY ts DESC LIMIT :limit")
FLEET_CODES = text(_COUNTED.format(FLEET_EVENTS.text))
FLEET_ALERTS = text(f"""
    SELECT device_id, alert_id::text, rule, metric, severity, opened_at, resolved_at FROM silver.alerts
    WHERE opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since) AND {_BY_THEM}
    ORDER BY resolved_at IS NOT NULL, opened_at DESC LIMIT :limit""")
FLEET_RESOLVED = text(f"""
    SELECT device_id, alert_id::text, rule, metric, severity, opened_at, resolved_at FROM silver.alerts
    WHERE resolved_at >= :since AND resolved_at < :until AND {_BY_THEM}
    ORDER BY resolved_at DESC LIMIT :limit""")
_OPEN = "SELECT count(*) FROM silver.alerts WHERE resolved_at IS NULL AND {}"
_WITHIN = """SELECT count(*) FROM silver.alerts
    WHERE opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since) AND {}"""
_RESOLVED = "SELECT count(*) FROM silver.alerts WHERE resolved_at >= :since AND resolved_at < :until AND {}"
OPEN_ALERTS, ALERTS_WITHIN, RESOLVED_ALERTS = (
    text(count.format(_BY_THEM)) for count in (_OPEN, _WITHIN, _RESOLVED)
)
DEVICE_OPEN_ALERTS, DEVICE_ALERTS_WITHIN, DEVICE_RESOLVED_ALERTS = (
    text(count.format("device_id = :device")) for count in (_OPEN, _WITHIN, _RESOLVED)
)
_SPARED = f"""
    SELECT count(*) AS devices, count(*) FILTER (WHERE struck IS NULL) AS spared,
        (array_agg(device_id ORDER BY device_id) FILTER (WHERE struck IS NULL))[1:10] AS named
    FROM (
        SELECT device_id FROM gold.device_health
        WHERE day = (SELECT max(day) FROM gold.device_health) AND {_OF_THEM}
    ) known LEFT JOIN (SELECT DISTINCT device_id AS struck FROM ({{}}) each) those ON struck = device_id"""
WITHOUT_ERRORS = text(_SPARED.format(f"{_ERRORS} AND {_WANTED}"))
WITHOUT_ALERTS = text(
    _SPARED.format("""
    SELECT device_id FROM silver.alerts
    WHERE opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since)""")
)
# Asked device by device: whoever sends has a row at the end of the index, which holds each reading of all.
WITHOUT_READINGS = text(f"""
    SELECT count(*) AS devices, count(*) FILTER (WHERE NOT sends) AS spared,
        (array_agg(device_id ORDER BY latest NULLS FIRST, device_id) FILTER (WHERE NOT sends))[1:10] AS named,
        (array_agg(latest ORDER BY latest NULLS FIRST, device_id) FILTER (WHERE NOT sends))[1:10] AS latest
    FROM (
        SELECT device_id, EXISTS (
            SELECT FROM silver.telemetry sent
            WHERE sent.device_id = health.device_id AND ts >= :since AND ts < :until) AS sends
        FROM gold.device_health health
        WHERE day = (SELECT max(day) FROM gold.device_health) AND {_OF_THEM}
    ) known LEFT JOIN LATERAL (
        SELECT ts AS latest FROM silver.telemetry sent
        WHERE sent.device_id = known.device_id AND ts < :since ORDER BY ts DESC LIMIT 1
    ) before ON NOT sends""")
WITHOUT_OPEN_ALERTS = text(_SPARED.format("SELECT device_id FROM silver.alerts WHERE resolved_at IS NULL"))
# A code that is named is counted though others are not.
_HAVE = {
    "errors": f"""
        SELECT device_id FROM silver.events
        WHERE error_code IS NOT NULL AND ts >= :since# AND ts < :until# AND {_COUNTS}""",
    "codes": f"""
        SELECT device_id FROM silver.events
        WHERE error_code IS NOT NULL AND ts >= :since# AND ts < :until#
            AND {_KEY} = ANY(CAST(:keys# AS text[]))""",
    "alerts": """
        SELECT device_id FROM silver.alerts
        WHERE opened_at < :until# AND (resolved_at IS NULL OR resolved_at >= :since#)""",
    "open alerts": "SELECT device_id FROM silver.alerts WHERE resolved_at IS NULL",
}
# Asked device by device, see above.
_SENT = """(
    SELECT true FROM silver.telemetry sent
    WHERE sent.device_id = health.device_id AND ts >= :since# AND ts < :until# LIMIT 1) IS NOT NULL"""
_COMPARED: dict[Bound, str] = {"at least": ">=", "at most": "<=", "below": "<", "above": ">"}
BRIEFLY = text("SET LOCAL statement_timeout = '2s'")
"""For what reads the rows of a whole fleet."""
VERSION = text("""
    SELECT (SELECT max(computed_at) FROM gold.device_health),
        (SELECT sum(next_offset) FROM ingest.offsets), (SELECT max(position) FROM ingest.alert_messages)""")
MODELS = text("""
    SELECT DISTINCT model FROM gold.device_health WHERE day = (SELECT max(day) FROM gold.device_health)""")
FLEET = text(f"""
    SELECT h.device_id, h.day, h.model, h.score, (
        SELECT detail FROM gold.device_health_components c
        WHERE (c.tenant_id, c.device_id, c.day) = (h.tenant_id, h.device_id, h.day)
        ORDER BY penalty DESC LIMIT 1) AS detail
    FROM gold.device_health h WHERE day = :day AND {_OF_THEM}
    ORDER BY score, device_id LIMIT :limit""")
HEALTHIEST = text(FLEET.text.replace("ORDER BY score, device_id", "ORDER BY score DESC, device_id DESC"))
SCORES = text(f"""
    SELECT least(width_bucket(score, 0, 100, :bands), :bands) AS band, count(*) AS devices
    FROM gold.device_health WHERE day = :day AND {_OF_THEM} GROUP BY band""")


def meeting(conditions: Sequence[Condition]) -> TextClause:
    """Asks for the devices that meet all of some conditions, with their `values`."""
    tests = [
        f"{'' if each.has else 'NOT '}({_test(each).replace('#', str(number))})"
        for number, each in enumerate(conditions)
    ]
    known = f"FROM gold.device_health health WHERE day = :day AND {_OF_THEM}"
    return text(f"""
        SELECT (SELECT count(*) {known}) AS devices, count(*) AS met,
            (array_agg(device_id ORDER BY score, device_id))[1:10] AS named,
            (array_agg(score ORDER BY score, device_id))[1:10] AS scores
        {known} AND {" AND ".join(tests)}""")


def values(conditions: Sequence[Condition]) -> dict[str, Any]:
    """Those of the first condition are `since0`, `until0` and so on."""
    numbered: dict[str, Any] = {}
    for number, each in enumerate(conditions):
        keys = [*map(code_key, each.codes)]
        of_it = asdict(each.period or EVER) | {"keys": keys, "number": each.number}
        numbered |= {f"{name}{number}": value for name, value in of_it.items()}
    return numbered


def _test(condition: Condition) -> str:
    match condition.of:
        case "readings":
            return _SENT
        case "score":
            return f"score {_COMPARED[condition.bound or 'at least']} :number#"
        case "errors":
            had = _HAVE["codes" if condition.codes else "errors"]
        case "alerts":
            had = _HAVE["alerts" if condition.period else "open alerts"]
    if condition.bound is None:
        return f"device_id IN ({had})"
    # Who had none had few.
    few = condition.bound in ("below", "at most")
    more = ">=" if condition.bound in ("below", "at least") else ">"
    return f"device_id {'NOT ' * few}IN ({had} GROUP BY device_id HAVING count(*) {more} :number#)"
