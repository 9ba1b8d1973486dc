"""The record contract as SQL over bronze lines.

It is that of `iotops.records`, whose codes begin each reason; it is checked again because not everything in
Kafka came through a gateway. DuckDB's JSON reader is a little more lenient than the gateway's: it takes a
trailing comma. Parameters: `$tenant`, `$telemetry` and `$events` (the topics), `$max_future_ms`.
"""

from __future__ import annotations

from iotops.records import DEVICE_ID, MAX_METRICS, MIN_TS_MS

LATEST_MS = 253_402_300_799_999  # the last millisecond of the year 9999

FIELDS = ("tenant_id", "device_id", "ts", "metrics", "seq", "model", "firmware",
          "type", "severity", "error_code", "message")  # fmt: skip
TEXTS = {"model": 64, "firmware": 64, "error_code": 64, "message": 4096}


def _checks() -> str:
    """The contract as the branches of a CASE over `fields`; the first that holds is the reason."""
    optional = " ".join(
        f"WHEN {name}_type NOT IN ('VARCHAR', 'NULL') THEN 'invalid_type: {name} is no text' "
        f"WHEN length({name}) > {limit} THEN 'invalid_type: {name} is longer than {limit}'"
        for name, limit in TEXTS.items()
    )
    return rf"""
        WHEN value IS NULL OR kafka_partition IS NULL OR kafka_offset IS NULL OR topic IS NULL
            OR arrived_ms IS NULL OR NOT arrived_ms BETWEEN 0 AND {LATEST_MS}
            THEN 'invalid_envelope: the line is not a record as the bronze sink writes it'
        WHEN topic NOT IN ($telemetry, $events) THEN 'identity_mismatch: topic ' || topic
        WHEN contains(value, '\u0000') THEN 'invalid_text: the record holds a NUL character'
        WHEN NOT json_valid(value) THEN 'invalid_json: not a JSON document'
        WHEN json_type(document) <> 'OBJECT' THEN 'invalid_type: not a JSON object'
        WHEN tenant_id_type <> 'NULL' AND tenant_id <> $tenant THEN 'identity_mismatch: tenant_id'
        WHEN device_id_type = 'NULL' THEN 'missing_field: device_id'
        WHEN device_id_type <> 'VARCHAR' OR NOT regexp_full_match(device_id, '{DEVICE_ID}')
            THEN 'invalid_type: device_id is not a device id'
        WHEN ts_type = 'NULL' THEN 'missing_field: ts'
        WHEN ts_ms IS NULL THEN 'invalid_type: ts is not whole epoch milliseconds'
        WHEN ts_ms < {MIN_TS_MS} THEN 'invalid_timestamp: ts lies before 2000'
        WHEN ts_ms > least(arrived_ms + $max_future_ms, {LATEST_MS})
            THEN 'future_timestamp: ts lies after the arrival'
        {optional}
        WHEN topic = $telemetry AND (metrics_type = 'NULL' OR metrics_type = 'OBJECT' AND metrics = '{{}}')
            THEN 'missing_field: metrics'
        WHEN topic = $telemetry AND metrics_type <> 'OBJECT' THEN 'invalid_type: metrics is not an object'
        WHEN topic = $telemetry AND seq_type <> 'NULL' AND coalesce(seq_number, -1) < 0
            THEN 'invalid_type: seq is not a whole number from 0'
        WHEN topic = $events AND type_type = 'NULL' THEN 'missing_field: type'
        WHEN topic = $events AND (type_type <> 'VARCHAR' OR NOT length(type) BETWEEN 1 AND 64)
            THEN 'invalid_type: type is not a text of 1 to 64 characters'
        WHEN topic = $events AND severity_type <> 'NULL'
            AND severity NOT IN ('info', 'warning', 'error', 'critical')
            THEN 'invalid_type: severity is none of info, warning, error, critical'"""


def _columns() -> str:
    """Each field as text, beside its JSON type; 'NULL' where it is absent."""
    numbered = list(enumerate(FIELDS, start=1))
    texts = ", ".join(f"texts[{i}] AS {name}" for i, name in numbered)
    types = ", ".join(f"coalesce(types[{i}], 'NULL') AS {name}_type" for i, name in numbered)
    return f"{texts}, {types}"


PATHS = [f"$.{name}" for name in FIELDS]
LINES = """
    CREATE TEMP TABLE lines AS
    WITH split AS (
        SELECT object, arrival_hour, string_split(content, chr(10)) AS texts FROM objects),
    numbered AS (
        SELECT object, arrival_hour, unnest(texts) AS text, generate_subscripts(texts, 1) AS line FROM split),
    read AS (
        SELECT *, json_extract_string(CASE WHEN json_valid(text) THEN text END,
            ['$.topic', '$.partition', '$.offset', '$.timestamp', '$.value']) AS parts
        FROM numbered WHERE text <> '')
    SELECT object, arrival_hour, line, text, parts[1] AS topic,
        TRY_CAST(parts[2] AS INTEGER) AS kafka_partition,
        TRY_CAST(parts[3] AS BIGINT) AS kafka_offset, TRY_CAST(parts[4] AS BIGINT) AS arrived_ms,
        parts[5] AS value
    FROM read"""
# A position alone is no identity: a topic that is made anew counts from 0 again.
RECORDS = f"""
    CREATE TEMP TABLE records AS
    WITH documents AS (
        SELECT *, CASE WHEN json_valid(value) THEN value END AS document, row_number() OVER (
            PARTITION BY topic, kafka_partition, kafka_offset, arrived_ms ORDER BY object, line) AS copy
        FROM lines),
    extracted AS (
        SELECT *, json_extract_string(document, {PATHS}) AS texts, json_type(document, {PATHS}) AS types
        FROM documents),
    fields AS (
        SELECT * EXCLUDE (texts, types), {_columns()} FROM extracted),
    numbers AS (
        SELECT *, CASE WHEN ts_type IN ('BIGINT', 'UBIGINT') THEN TRY_CAST(ts AS BIGINT) END AS ts_ms,
            CASE WHEN seq_type IN ('BIGINT', 'UBIGINT') THEN TRY_CAST(seq AS BIGINT) END AS seq_number
        FROM fields)
    SELECT *, copy > 1 AND kafka_offset IS NOT NULL AS seen, CASE {_checks()} END AS reason FROM numbers"""
METRICS = """
    CREATE TEMP TABLE metrics AS
    SELECT r.object, r.line, m.key AS metric, m.id AS place,
        m.type IN ('BIGINT', 'UBIGINT', 'DOUBLE') AS number,
        CASE WHEN m.type IN ('BIGINT', 'UBIGINT', 'DOUBLE')
            THEN TRY_CAST(json_extract_string(m.value, '$') AS DOUBLE) END AS reading
    FROM records r, json_each(r.document, '$.metrics') m
    WHERE r.reason IS NULL AND NOT r.seen AND r.topic = $telemetry"""
BAD_METRICS = f"""
    UPDATE records SET reason = bad.reason FROM (
        SELECT object, line, coalesce(
            min('invalid_type: metrics.' || left(metric, 64) || ' is not a number') FILTER (NOT number),
            min('not_finite: metrics.' || left(metric, 64))
                FILTER (number AND NOT coalesce(isfinite(reading), false)),
            min('invalid_type: a metric''s name has 1 to 64 characters')
                FILTER (NOT length(metric) BETWEEN 1 AND 64),
            CASE WHEN count(*) > {MAX_METRICS} THEN 'too_large: ' || count(*) || ' metrics' END) AS reason
        FROM metrics GROUP BY object, line) bad
    WHERE bad.reason IS NOT NULL AND records.object = bad.object AND records.line = bad.line"""
