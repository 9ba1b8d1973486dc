"""Milliseconds of an hour and of a day, as timestamps of records and of Kafka count."""

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
