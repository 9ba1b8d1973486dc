"""The facts behind the health score as SQL: what each device did on each day, beside its past and its fleet.

Tables in: `stats`, `events`, `services`, `alerts`, `fleet`, `days`, `severities`; out: `devices`, `facts`.

Spreads are robust: 1.4826 times the median absolute deviation estimates a normal standard deviation
(Rousseeuw and Croux 1993), and neither it nor a median is moved by the few days in which a fault
was already at work.
"""

from __future__ import annotations

SPREAD = """greatest(coalesce(median(sqrt(m2 / (n - 1))) FILTER (n > 1{only}), 0),
            1.4826 * coalesce(mad(mean){only_filter}, 0), 0.001 * abs(median(mean){only_filter}), 1e-9)"""
DAY_SPREAD = SPREAD.format(only="", only_filter="")


def _past(condition: str) -> str:
    return SPREAD.format(only=f" AND {condition}", only_filter=f" FILTER ({condition})")


BEFORE, BEFORE_WEEK, WEEK = "ago > 0", "ago > 6", "ago <= 6"

# Every device heard of in the window, with the readings of the day itself.
DEVICES = """
    CREATE TEMP TABLE devices AS
    SELECT d.day, s.device_id, max_by(s.model, s.day) AS model, max(s.last_ts) AS last_ts,
        coalesce(max(s.n) FILTER (s.day = d.day), 0) AS readings, count(*) AS active_days
    FROM days d
    JOIN stats s ON s.metric IS NULL AND s.day > d.day - CAST($window AS INTEGER) AND s.day <= d.day
    GROUP BY d.day, s.device_id"""
TODAY = """
    CREATE TEMP TABLE today AS
    SELECT s.day, s.device_id, s.metric, s.n, s.mean, s.m2, s.late_n, s.late_mean, v.model
    FROM stats s JOIN devices v USING (day, device_id) WHERE s.metric IS NOT NULL"""
PEERS = "SELECT day, model, metric, n, mean, m2 FROM today WHERE model IS NOT NULL"
FLEET = f"""
    SELECT day, model, metric, count(*) AS peers, median(mean) AS centre, {DAY_SPREAD} AS spread
    FROM peers GROUP BY day, model, metric HAVING count(*) >= $least_peers"""

FACTS = (
    # The own past of each metric: its usual day, and how far readings spread around it; the same of the days
    # before the last week, and that week.
    f"""
    CREATE TEMP TABLE past AS
    WITH near AS (
        SELECT d.day, s.device_id, s.metric, s.n, s.mean, s.m2, d.day - s.day AS ago
        FROM days d JOIN stats s
            ON s.metric IS NOT NULL AND s.day >= d.day - CAST($window AS INTEGER) AND s.day <= d.day)
    SELECT day, device_id, metric,
        count(*) FILTER ({BEFORE}) AS days, median(mean) FILTER ({BEFORE}) AS centre,
        {_past(BEFORE)} AS spread,
        count(*) FILTER ({BEFORE_WEEK}) AS days_before, median(mean) FILTER ({BEFORE_WEEK}) AS centre_before,
        {_past(BEFORE_WEEK)} AS spread_before,
        sum(n) FILTER ({WEEK}) AS week_n, sum(n * mean) FILTER ({WEEK}) / sum(n) FILTER ({WEEK}) AS week_mean
    FROM near GROUP BY day, device_id, metric""",
    # Each metric against its own past, or where there is too little against the fleet of the model.
    """
    CREATE TEMP TABLE deviations AS
    WITH compared AS (
        SELECT t.*, f.peers, p.days >= $least_past AS own, f.centre AS fleet_centre, f.spread AS fleet_spread,
            CASE WHEN p.days >= $least_past THEN p.centre ELSE f.centre END AS centre,
            CASE WHEN p.days >= $least_past THEN p.spread ELSE f.spread END AS spread,
            CASE WHEN p.days_before >= $least_before THEN p.centre_before END AS centre_before,
            p.spread_before, p.week_n, p.week_mean
        FROM today t
        LEFT JOIN past p USING (day, device_id, metric)
        LEFT JOIN fleet f ON f.day = t.day AND f.model = t.model AND f.metric = t.metric)
    SELECT *, (mean - centre) / spread AS z, greatest(0, 3 / sqrt(n) - $anomaly_free) AS allowance,
        (late_mean - centre) / spread AS late_z,
        greatest(0, 3 / sqrt(late_n) - $surge_free) AS late_allowance,
        (week_mean - centre_before) / spread_before AS week_z,
        greatest(0, 3 / sqrt(week_n) - $slow_drift_free) AS week_allowance,
        (mean - fleet_centre) / fleet_spread AS fleet_z,
        greatest(0, 3 / sqrt(n) - $drift_free) AS fleet_allowance
    FROM compared""",
    """
    CREATE TEMP TABLE worst AS
    SELECT day, device_id,
        max_by(deviations, row(round(abs(z) - allowance, 9), metric))
            FILTER (z IS NOT NULL) AS own,
        max_by(deviations, row(round(abs(late_z) - late_allowance, 9), metric))
            FILTER (late_z IS NOT NULL) AS late,
        max_by(deviations, row(round(abs(week_z) - week_allowance, 9), metric))
            FILTER (week_z IS NOT NULL) AS week,
        max_by(deviations, row(round(abs(fleet_z) - fleet_allowance, 9), metric))
            FILTER (fleet_z IS NOT NULL) AS fleet
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
    # Alerts open at the day's end count in full, those resolved on the day by half.
    """
    CREATE TEMP TABLE alarms AS
    WITH ends AS (
        SELECT day, make_timestamptz(epoch_us(CAST(day + 1 AS TIMESTAMP)) - $shift_us) AS until FROM days),
    near AS (
        SELECT e.day, a.device_id, s.points, a.rule, a.resolved_at IS NULL OR a.resolved_at >= e.until AS open
        FROM ends e JOIN alerts a ON a.opened_at < e.until
            AND (a.resolved_at IS NULL OR a.resolved_at >= e.until - INTERVAL 24 HOUR)
        JOIN severities s USING (severity))
    SELECT day, device_id, sum(CASE WHEN open THEN points ELSE points / 2 END) AS points,
        count(*) FILTER (open) AS open, count(*) FILTER (NOT open) AS resolved,
        string_agg(DISTINCT rule, ', ' ORDER BY rule) AS rules
    FROM near GROUP BY day, device_id""",
    # When each component of a device was last serviced, by then.
    """
    CREATE TEMP TABLE upkeep AS
    WITH ends AS (
        SELECT day, make_timestamptz(epoch_us(CAST(day + 1 AS TIMESTAMP)) - $shift_us) AS until FROM days),
    ages AS (
        SELECT e.day, s.device_id, s.component,
            min((epoch_us(e.until) - epoch_us(s.occurred_at)) / 8.64e10) AS age
        FROM ends e JOIN services s ON s.occurred_at < e.until GROUP BY e.day, s.device_id, s.component)
    SELECT day, device_id, min(age) AS since, arg_min(component, age) AS latest, avg(age) AS wear,
        count(*) AS parts, max(age) AS oldest_age, arg_max(component, row(age, component)) AS oldest
    FROM ages GROUP BY day, device_id""",
    """
    CREATE TEMP TABLE facts AS
    SELECT v.*, w.own, w.late, w.week, w.fleet, coalesce(t.points, 0) AS points,
        coalesce(t.errors, 0) AS errors, coalesce(t.earlier, 0) AS earlier,
        coalesce(t.failures, 0) AS failures, t.codes, t.failed, coalesce(a.points, 0) AS alert_points,
        coalesce(a.open, 0) AS open_alerts, coalesce(a.resolved, 0) AS resolved_alerts, a.rules,
        u.since, u.latest, u.wear, u.parts, u.oldest_age, u.oldest,
        (epoch_us(CAST(v.day + 1 AS TIMESTAMP)) - epoch_us(v.last_ts) - $shift_us) / 3.6e9 AS silent_h
    FROM devices v LEFT JOIN worst w USING (day, device_id) LEFT JOIN troubles t USING (day, device_id)
    LEFT JOIN alarms a USING (day, device_id) LEFT JOIN upkeep u USING (day, device_id)""",
)
