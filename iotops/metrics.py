"""The platform's metrics, by the names that dashboards and alerts rely on.

Ray's per-node agent collects them from every worker process, so they are right with several replicas; it
exports each name with the prefix `ray_`.
"""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

HTTP_REQUESTS = Counter("http_requests_total", "Requests answered.", ("route", "method", "status"))
HTTP_ERRORS = Counter(
    "http_request_errors_total", "Requests refused or failed.", ("route", "method", "status")
)
HTTP_DURATION = Histogram(
    "http_request_duration_seconds",
    "Time to answer a request (s).",
    boundaries=[0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32],
    tag_keys=("route", "method"),
)
KAFKA_CONSUMED = Counter("kafka_messages_consumed_total", "Records consumed by sinks.", ("sink", "topic"))
KAFKA_LAG = Gauge("kafka_consumer_lag", "Records not stored yet.", ("sink", "topic", "partition"))
INGEST_REJECTED = Counter("ingest_rejected_records_total", "Records refused at a gateway.", ("topic", "code"))
