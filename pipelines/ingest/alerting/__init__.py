"""Alerting: rules and anomaly scores over the stream, each alert once in Postgres and in Kafka."""
