"""The health score as SQL: points and sentences of `facts`, and what devices add to their fleet's summary."""

from __future__ import annotations

SIDE = "CASE WHEN {z} < 0 THEN 'below' ELSE 'above' END"
NO_PEERS = "'too few devices of its model to compare with'"
PAST = """CASE WHEN coalesce({own}.own, false) THEN 'its own past'
        ELSE 'the ' || {own}.model || ' fleet, as it has no history of its own yet' END"""


def _deviation(component: str, metric: str, mean: str, z: str, period: str, beside: str, centre: str,
               missing: str) -> str:  # fmt: skip
    """A component that is a distance in standard deviations: `metric` names the struct of the worst one."""
    allowance = {"z": "allowance", "late_z": "late_allowance", "week_z": "week_allowance"}.get(
        z, "fleet_allowance"
    )
    return f"""
        SELECT device_id, day, '{component}' AS component, abs({metric}.{z}) AS value,
            coalesce({metric}.{allowance}, 0) AS allowance,
            CASE WHEN readings = 0 THEN 'no readings in the last 24 h' WHEN {metric} IS NULL THEN {missing}
                ELSE format('{{}} averaged {{:.4g}} over the last {period}, {{:.1f}} standard deviations '
                    || '{{}} {{}} ({{:.4g}})', {metric}.metric, {metric}.{mean}, abs({metric}.{z}),
                    {SIDE.format(z=f"{metric}.{z}")}, {beside}, {metric}.{centre}) END AS detail
        FROM facts"""


VALUES = (
    _deviation("anomaly", "own", "mean", "z", "24 h", PAST.format(own="own"), "centre",
               "'too little past and too few devices of its model to compare with'"),
    _deviation("surge", "late", "late_mean", "late_z", "8 h", PAST.format(own="late"), "centre",
               "'nothing to compare the last 8 h with'"),
    _deviation("slow_drift", "week", "week_mean", "week_z", "7 days", "'the weeks before'", "centre_before",
               "'too little past to compare the last 7 days with'"),
    _deviation("drift", "fleet", "mean", "fleet_z", "24 h",
               "'the middle of the ' || fleet.peers || ' devices of model ' || fleet.model", "fleet_centre",
               NO_PEERS),
    """
        SELECT device_id, day, 'errors', points, 0,
            CASE WHEN errors + earlier = 0 THEN 'no error events in the last three days'
                ELSE format('{} error events in the last 24 h and {} in the two days before ({})',
                    CAST(errors AS BIGINT), CAST(earlier AS BIGINT), coalesce(codes, 'no code')) END
        FROM facts""",
    """
        SELECT device_id, day, 'alerts', alert_points, 0,
            CASE WHEN open_alerts + resolved_alerts = 0 THEN 'no alerts in the last 24 h'
                ELSE format('{} open and {} resolved alerts in the last 24 h ({})', open_alerts,
                    resolved_alerts, rules) END
        FROM facts""",
    """
        SELECT device_id, day, 'failures', failures, 0,
            CASE WHEN failures = 0 THEN 'no failure in the last 24 h'
                ELSE format('{} failure(s) in the last 24 h: {}', CAST(failures AS BIGINT),
                    coalesce(failed, 'component not named')) END
        FROM facts""",
    """
        SELECT device_id, day, 'staleness', greatest(silent_h, 0), 0,
            format('the last reading is {:.1f} h old', greatest(silent_h, 0))
        FROM facts""",
    """
        SELECT device_id, day, 'maintenance', since, 0,
            CASE WHEN since IS NULL THEN 'no maintenance is on record'
                ELSE format('last serviced {:.1f} days ago ({})', since, latest) END
        FROM facts""",
    """
        SELECT device_id, day, 'wear', wear, 0,
            CASE WHEN wear IS NULL THEN 'no maintenance is on record'
                ELSE format('its {} serviced component(s) are {:.0f} days old on average, {} the oldest with '
                    || '{:.0f}', parts, wear, oldest, oldest_age) END
        FROM facts""",
)  # fmt: skip
# Rounded: the last bits of a mean depend on the order in which its parts came.
COMPONENTS = f"""
    CREATE TEMP TABLE components AS
    WITH valued AS ({" UNION ALL ".join(VALUES)})
    SELECT device_id, day, component, round(CAST(value AS DOUBLE), 6) AS value,
        round(weight * least(1, greatest(0,
            coalesce((value - free - allowance) / (fully - free), 0))), 1) AS penalty, weight, detail
    FROM valued JOIN penalties USING (component)"""
SCORES = """
    CREATE TEMP TABLE scores AS
    SELECT f.device_id, f.day, f.model, greatest(0, round(100 - p.penalty, 1)) AS score,
        CAST(f.readings AS BIGINT) AS readings, CAST(f.errors AS BIGINT) AS errors
    FROM facts f
    JOIN (SELECT device_id, day, sum(penalty) AS penalty FROM components GROUP BY ALL) p
        USING (device_id, day)"""

# Of some devices of a fleet: what their days add up to, their worst, and their error codes.
TOTALS = """
    SELECT day, count(*) AS devices, sum(score) AS scores,
        count(*) FILTER (score < $unhealthy) AS unhealthy_devices,
        CAST(sum(s.readings) AS BIGINT) AS readings, CAST(sum(s.errors) AS BIGINT) AS errors,
        CAST(sum(f.failures) AS BIGINT) AS failures, CAST(sum(f.active_days) AS BIGINT) AS active_days
    FROM scores s JOIN facts f USING (device_id, day) GROUP BY day"""
WORST = """
    WITH ranked AS (
        SELECT *, row_number() OVER (PARTITION BY day ORDER BY score, device_id) AS place FROM scores),
    reasons AS (
        SELECT device_id, day, max_by(detail, row(round(penalty, 9), weight, component)) AS detail
        FROM components GROUP BY ALL)
    SELECT day, device_id, model, score, detail FROM ranked JOIN reasons USING (device_id, day)
    WHERE place <= 5"""
CODES = """
    SELECT day, label, CAST(sum(n) AS BIGINT) AS n FROM events
    WHERE type = 'error' AND label IS NOT NULL AND day IN (FROM days) GROUP BY day, label"""
FAILED = """
    SELECT d.day, CAST(sum(e.n) AS BIGINT) AS n
    FROM days d JOIN events e
        ON e.type = 'failure' AND e.day > d.day - CAST($window AS INTEGER) AND e.day <= d.day
    GROUP BY d.day"""

SUMMARIES = """
    WITH fleet AS (
        SELECT day, sum(devices) AS devices, round(sum(scores) / sum(devices), 6) AS mean_score,
            sum(unhealthy_devices) AS unhealthy_devices, sum(readings) AS readings, sum(errors) AS errors,
            sum(failures) AS failures, sum(active_days) AS active_days
        FROM totals GROUP BY day),
    lowest AS (
        SELECT day, list({'device_id': device_id, 'model': model, 'score': score, 'detail': detail}
            ORDER BY score, device_id)[:5] AS worst
        FROM worst GROUP BY day),
    named AS (
        SELECT day, list({'error_code': label, 'events': n} ORDER BY n DESC, label)[:5] AS codes
        FROM (SELECT day, label, CAST(sum(n) AS BIGINT) AS n FROM codes GROUP BY ALL) GROUP BY day),
    broken AS (SELECT day, sum(n) AS n FROM failed GROUP BY day)
    SELECT day, CAST(devices AS BIGINT) AS devices, mean_score,
        CAST(unhealthy_devices AS BIGINT) AS unhealthy_devices, CAST(readings AS BIGINT) AS readings,
        CAST(errors AS BIGINT) AS errors, CAST(failures AS BIGINT) AS failures,
        CAST(to_json(worst) AS VARCHAR) AS worst_devices,
        coalesce(CAST(to_json(codes) AS VARCHAR), '[]') AS top_error_codes,
        CAST(24 * active_days / nullif(n, 0) AS DOUBLE) AS mtbf_hours
    FROM fleet LEFT JOIN lowest USING (day) LEFT JOIN named USING (day) LEFT JOIN broken USING (day)
    ORDER BY day"""
