"""The health score as SQL. Tables in: `stats`, `events`, `days`, `severities`; out: `scores`, `components`.

Spreads are robust: 1.4826 times the median absolute deviation estimates a normal standard deviation
(Rousseeuw and Croux 1993), and neither it nor a median is moved by the few days in which a fault
was already at work.
"""

from __future__ import annotations

PREPARE = (
    # Every device heard of in the window, with the readings of the day itself.
    """
    CREATE TEMP TABLE devices AS
    SELECT d.day, s.device_id, max_by(s.model, s.day) AS model, max(s.last_ts) AS last_ts,
        coalesce(max(s.n) FILTER (s.day = d.day), 0) AS readings
    FROM days d
    JOIN stats s ON s.metric IS NULL AND s.day > d.day - CAST($window AS INTEGER) AND s.day <= d.day
    GROUP BY d.day, s.device_id""",
    # The own past of each metric: its usual day, and how far readings spread around it.
    """
    CREATE TEMP TABLE past AS
    SELECT d.day, s.device_id, s.metric, count(*) AS days, median(s.mean) AS centre,
        greatest(coalesce(median(sqrt(s.m2 / (s.n - 1))) FILTER (s.n > 1), 0), 1.4826 * mad(s.mean),
            0.001 * abs(median(s.mean)), 1e-9) AS spread
    FROM days d JOIN stats s
        ON s.metric IS NOT NULL AND s.day >= d.day - CAST($window AS INTEGER) AND s.day < d.day
    GROUP BY d.day, s.device_id, s.metric""",
    """
    CREATE TEMP TABLE today AS
    SELECT s.day, s.device_id, s.metric, s.n, s.mean, s.m2, v.model
    FROM stats s JOIN devices v USING (day, device_id) WHERE s.metric IS NOT NULL""",
    """
    CREATE TEMP TABLE fleet AS
    SELECT day, model, metric, count(*) AS peers, median(mean) AS centre,
        greatest(coalesce(median(sqrt(m2 / (n - 1))) FILTER (n > 1), 0), 1.4826 * mad(mean),
            0.001 * abs(median(mean)), 1e-9) AS spread
    FROM today WHERE model IS NOT NULL GROUP BY day, model, metric HAVING count(*) >= $least_peers""",
    # Each metric against its own past, or where there is too little against the fleet of the model.
    """
    CREATE TEMP TABLE deviations AS
    WITH compared AS (
        SELECT t.*, f.peers, p.days >= $least_past AS own, f.centre AS fleet_centre, f.spread AS fleet_spread,
            CASE WHEN p.days >= $least_past THEN p.centre ELSE f.centre END AS centre,
            CASE WHEN p.days >= $least_past THEN p.spread ELSE f.spread END AS spread
        FROM today t
        LEFT JOIN past p USING (day, device_id, metric)
        LEFT JOIN fleet f ON f.day = t.day AND f.model = t.model AND f.metric = t.metric)
    SELECT *, (mean - centre) / spread AS z, (mean - fleet_centre) / fleet_spread AS fleet_z,
        greatest(0, 3 / sqrt(n) - $anomaly_free) AS allowance
    FROM compared""",
    """
    CREATE TEMP TABLE worst AS
    SELECT day, device_id, max_by(deviations, abs(z) - allowance) FILTER (z IS NOT NULL) AS own,
        max_by(deviations, abs(fleet_z) - allowance) FILTER (fleet_z IS NOT NULL) AS fleet
    FROM deviations GROUP BY day, device_id""",
    # Errors of the day and the two before, each day before counting half of the next; failures of the day.
    """
    CREATE TEMP TABLE troubles AS
    SELECT d.day, e.device_id,
        sum(e.n * s.points * 0.5 ** (d.day - e.day)) FILTER (e.type = 'error') AS points,
        coalesce(sum(e.n) FILTER (e.type = 'error' AND e.day = d.day), 0) AS errors,
        coalesce(sum(e.n) FILTER (e.type = 'error' AND e.day < d.day), 0) AS earlier,
        coalesce(sum(e.n) FILTER (e.type = 'failure' AND e.day = d.day), 0) AS failures,
        string_agg(DISTINCT e.label, ', ' ORDER BY e.label) FILTER (e.type = 'error') AS codes,
        string_agg(DISTINCT e.label, ', ' ORDER BY e.label)
            FILTER (e.type = 'failure' AND e.day = d.day) AS failed
    FROM days d JOIN events e ON e.day > d.day - 3 AND e.day <= d.day JOIN severities s USING (severity)
    GROUP BY d.day, e.device_id""",
)

SIDE = "CASE WHEN {z} < 0 THEN 'below' ELSE 'above' END"
COMPONENTS = f"""
    CREATE TEMP TABLE components AS
    WITH facts AS (
        SELECT v.*, w.own, w.fleet, coalesce(t.points, 0) AS points, coalesce(t.errors, 0) AS errors,
            coalesce(t.earlier, 0) AS earlier, coalesce(t.failures, 0) AS failures, t.codes, t.failed,
            (epoch_us(CAST(v.day + 1 AS TIMESTAMP)) - epoch_us(v.last_ts)) / 3.6e9 - $shift_h AS silent_h
        FROM devices v LEFT JOIN worst w USING (day, device_id) LEFT JOIN troubles t USING (day, device_id)),
    valued AS (
        SELECT device_id, day, 'anomaly' AS component, abs(own.z) AS value,
            coalesce(own.allowance, 0) AS allowance,
            CASE WHEN readings = 0 THEN 'no readings in the last 24 h'
                WHEN own IS NULL THEN 'too little past and too few devices of its model to compare with'
                ELSE format('{{}} averaged {{:.4g}} over the last 24 h, {{:.1f}} standard deviations '
                    || '{{}} {{}} ({{:.4g}})',
                    own.metric, own.mean, abs(own.z), {SIDE.format(z="own.z")},
                    CASE WHEN coalesce(own.own, false) THEN 'its own past'
                        ELSE 'the ' || own.model || ' fleet, for want of a past of its own' END, own.centre)
                END AS detail
        FROM facts
        UNION ALL SELECT device_id, day, 'errors', points, 0,
            CASE WHEN errors + earlier = 0 THEN 'no error events in the last three days'
                ELSE format('{{}} error events in the last 24 h and {{}} in the two days before ({{}})',
                    CAST(errors AS BIGINT), CAST(earlier AS BIGINT), coalesce(codes, 'no code')) END
        FROM facts
        UNION ALL SELECT device_id, day, 'failures', failures, 0,
            CASE WHEN failures = 0 THEN 'no failure in the last 24 h'
                ELSE format('{{}} failure(s) in the last 24 h: {{}}', CAST(failures AS BIGINT),
                    coalesce(failed, 'component not named')) END
        FROM facts
        UNION ALL SELECT device_id, day, 'drift', abs(fleet.fleet_z), coalesce(fleet.allowance, 0),
            CASE WHEN fleet IS NULL THEN 'too few devices of its model to compare with'
                ELSE format('{{}} averaged {{:.4g}} over the last 24 h, {{:.1f}} standard deviations {{}} '
                    || 'the middle of the {{}} devices of model {{}} ({{:.4g}})',
                    fleet.metric, fleet.mean, abs(fleet.fleet_z),
                    {SIDE.format(z="fleet.fleet_z")}, fleet.peers, fleet.model, fleet.fleet_centre) END
        FROM facts
        UNION ALL SELECT device_id, day, 'staleness', greatest(silent_h, 0), 0,
            format('the last reading is {{:.1f}} h old', greatest(silent_h, 0))
        FROM facts),
    constants(component, weight, free, fully) AS (VALUES
        ('anomaly', $anomaly_weight, $anomaly_free, $anomaly_full),
        ('errors', $errors_weight, $errors_free, $errors_full),
        ('failures', $failures_weight, $failures_free, $failures_full),
        ('drift', $drift_weight, $drift_free, $drift_full),
        ('staleness', $staleness_weight, $staleness_free, $staleness_full))
    SELECT device_id, day, component, CAST(value AS DOUBLE) AS value,
        round(weight * least(1, greatest(0,
            coalesce((value - free - allowance) / (fully - free), 0))), 1) AS penalty,
        CAST(weight AS DOUBLE) AS weight, detail
    FROM valued JOIN constants USING (component)"""

SCORES = """
    CREATE TEMP TABLE scores AS
    SELECT v.device_id, v.day, v.model, greatest(0, round(100 - p.penalty, 1)) AS score,
        CAST(v.readings AS BIGINT) AS readings, CAST(coalesce(t.errors, 0) AS BIGINT) AS errors
    FROM devices v
    JOIN (SELECT device_id, day, sum(penalty) AS penalty FROM components GROUP BY ALL) p
        USING (device_id, day)
    LEFT JOIN troubles t USING (device_id, day)"""

SUMMARIES = """
    WITH reasons AS (
        SELECT device_id, day, max_by(detail, penalty + weight / 1e6) AS detail FROM components GROUP BY ALL),
    fleet AS (
        SELECT day, count(*) AS devices, avg(score) AS mean_score,
            count(*) FILTER (score < $unhealthy) AS unhealthy_devices,
            CAST(sum(readings) AS BIGINT) AS readings, CAST(sum(errors) AS BIGINT) AS errors,
            list({'device_id': device_id, 'model': model, 'score': score, 'detail': detail}
                ORDER BY score, device_id)[:5] AS worst
        FROM scores JOIN reasons USING (device_id, day) GROUP BY day),
    failures AS (SELECT day, sum(failures) AS failures FROM troubles GROUP BY day),
    codes AS (
        SELECT day, list({'error_code': label, 'events': n} ORDER BY n DESC, label)[:5] AS codes FROM (
            SELECT day, label, CAST(sum(n) AS BIGINT) AS n FROM events
            WHERE type = 'error' AND label IS NOT NULL GROUP BY day, label)
        GROUP BY day)
    SELECT day, devices, mean_score, unhealthy_devices, readings, errors,
        CAST(coalesce(failures, 0) AS BIGINT) AS failures, CAST(to_json(worst) AS VARCHAR) AS worst_devices,
        coalesce(CAST(to_json(codes) AS VARCHAR), '[]') AS top_error_codes
    FROM fleet LEFT JOIN failures USING (day) LEFT JOIN codes USING (day)"""
