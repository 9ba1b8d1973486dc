"""The platform's metrics, by the names that dashboards and alerts rely on.

Ray's per-node agent collects them from every worker process, so they are right with several replicas; it
exports each name with the prefix `ray_` and the worker's id as a label. It makes the `_sum` of a histogram of
the middles of its buckets: what must add up exactly is a counter.
"""

from __future__ import annotations

from collections import defaultdict, deque

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
AUDIT_DROPPED = Counter("audit_dropped_entries_total", "Entries of the audit that only the log has.")


class Ratio:
    """A share of yes (0-1) by tenant: a gauge over the latest of a process, beside the counters.

    Over replicas, and for a time that you choose, the share is that of the counters `<name>_yes_total` and
    `<name>_observations_total`: docs/metrics.md has the query.
    """

    LATEST = 100

    def __init__(self, name: str, description: str) -> None:
        tags = ("tenant",)
        self._gauge = Gauge(name, f"{description} Of this process's latest {self.LATEST}.", tags)
        self._yes = Counter(f"{name}_yes_total", f"{description} How many were.", tags)
        self._all = Counter(f"{name}_observations_total", f"{description} Out of how many.", tags)
        self._latest: defaultdict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=self.LATEST))

    def observe(self, tenant: str, yes: bool) -> float:
        """Count one; the share of the latest."""
        tags, latest = {"tenant": tenant}, self._latest[tenant]
        latest.append(yes)
        share = sum(latest) / len(latest)
        self._all.inc(tags=tags)
        if yes:
            self._yes.inc(tags=tags)
        self._gauge.set(share, tags=tags)
        return share


RETRIEVAL_DURATION = Histogram(
    "rag_retrieval_latency_seconds",
    "Time of a search in the retriever, embedding and reranking included (s).",
    boundaries=[0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10],
)
EMPTY_RESULTS = Ratio("rag_empty_results_ratio", "Searches that found nothing.")
CITED_ANSWERS = Ratio("rag_citation_ratio", "Answers whose sentences are all cited, cached ones included.")
LLM_TTFT = Histogram(
    "llm_ttft_seconds",
    "Time to the model's first token, the engine's queue included (s).",
    boundaries=[0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30],
    tag_keys=("model",),
)
LLM_SPEED = Histogram(
    "llm_tokens_per_second",
    "Tokens per second that one completion was written with, after its first.",
    boundaries=[1, 2, 5, 10, 20, 40, 80, 160, 320, 640],
    tag_keys=("model",),
)
LLM_COST = Histogram(
    "llm_cost_per_request",
    "What the model cost in a request that used it, in the currency of its prices.",
    boundaries=[0.00001, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
    tag_keys=("tenant", "model"),
)
LLM_SPENT = Counter(
    "llm_cost_total", "What the model cost, exactly, in the same currency.", ("tenant", "model")
)
LLM_TOKENS = Counter("llm_tokens_total", "Tokens read and written.", ("tenant", "model", "kind"))
