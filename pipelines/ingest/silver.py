"""The silver sink: records to the hot tables of Postgres, rows and offset in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from iotops.database import driver, engine, tenant_transaction
from iotops.errors import IotOpsError
from iotops.kafka import Message, Partition
from iotops.records import NUL, Event, Reading
from iotops.settings import Settings
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.sink import Sink

logger = logging.getLogger(__name__)

TELEMETRY = ("device_id", "ts", "seq", "metrics", "model", "firmware")
EVENTS = ("device_id", "ts", "type", "severity", "error_code", "message")
Decoder = msgspec.json.Decoder[Reading] | msgspec.json.Decoder[Event]
READING: Decoder = msgspec.json.Decoder(Reading)
EVENT: Decoder = msgspec.json.Decoder(Event)
STAGING_TYPES = {
    "ts": "double precision", "seq": "bigint", "metrics": "jsonb",
    "kafka_partition": "integer", "kafka_offset": "bigint",
}  # fmt: skip
LOAD_OFFSET = text("SELECT next_offset FROM ingest.offsets WHERE topic = :topic AND partition = :partition")
MOVE_OFFSET = text("""
    INSERT INTO ingest.offsets (tenant_id, topic, partition, next_offset)
    VALUES (:tenant, :topic, :partition, :next)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = :next
    WHERE ingest.offsets.next_offset <= :start
    RETURNING next_offset""")


class OffsetConflict(IotOpsError):
    """Another member has stored these records already: this one is a zombie and must rejoin."""


class SilverSink(Sink):
    """Stages records by COPY (which row security refuses on the table itself), merges them, and moves the
    stored offset, all in one transaction; on assignment it seeks to the stored offset."""

    name = "silver"

    def __init__(self, settings: Settings) -> None:
        self._engine = engine(settings.database)
        super().__init__(settings)

    def assigned(self, partitions: list[Partition]) -> None:
        """Go on where the database says, whatever the consumer group says."""
        for partition in partitions:
            with tenant_transaction(self._engine, tenant_of_topic(partition.topic)) as connection:
                offset = connection.execute(
                    LOAD_OFFSET, {"topic": partition.topic, "partition": partition.number}
                ).scalar_one_or_none()
            self.consumer.seek(partition, offset or 0)

    def receive(self, partition: Partition, messages: list[Message]) -> None:
        """Store each batch as it comes."""
        self.store(partition, messages)

    def write(self, partition: Partition, messages: list[Message]) -> None:
        """Rows and offset in one transaction."""
        tenant = tenant_of_topic(partition.topic)
        events = partition.topic == tenant.events_topic
        table, columns, decoder = ("events", EVENTS, EVENT) if events else ("telemetry", TELEMETRY, READING)
        rows = [
            row for message in messages if (row := _row(partition, message, decoder, columns)) is not None
        ]
        staged = (*columns, "kafka_partition", "kafka_offset")
        names = ", ".join(staged)
        values = names.replace("ts", "to_timestamp(ts)", 1)
        definition = ", ".join(f"{column} {STAGING_TYPES.get(column, 'text')}" for column in staged)
        with tenant_transaction(self._engine, tenant) as connection:
            connection.execute(text(f"CREATE TEMP TABLE staging ({definition}) ON COMMIT DROP"))
            with (
                driver(connection).cursor() as cursor,
                cursor.copy(f"COPY staging ({names}) FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            connection.execute(
                text(
                    f"INSERT INTO silver.{table} (tenant_id, {names}) SELECT :tenant, {values} FROM staging "
                    "ON CONFLICT (tenant_id, kafka_partition, kafka_offset) DO NOTHING"
                ),
                {"tenant": tenant.id},
            )
            position = {"tenant": tenant.id, "topic": partition.topic, "partition": partition.number}
            bounds = {"start": messages[0].offset, "next": messages[-1].offset + 1}
            try:
                connection.execute(MOVE_OFFSET, position | bounds).one()
            except NoResultFound:
                raise OffsetConflict(f"{partition} is stored beyond offset {messages[0].offset}") from None

    def commit(self, partition: Partition, next_offset: int) -> None:
        """Tell the group as well, for those who watch its lag; the database's offset counts."""
        self.consumer.commit(partition, next_offset)


def _row(
    partition: Partition, message: Message, decoder: Decoder, columns: Sequence[str]
) -> list[Any] | None:
    """The staged row of a record; None for one that no gateway wrote: bronze and quarantine keep it."""
    try:
        if NUL in message.value:
            raise ValueError("a NUL character, which Postgres cannot store")
        record = decoder.decode(message.value)
        values = [getattr(record, column) for column in columns]
        values[1] = float(record.ts) / 1000
        if isinstance(record, Reading):
            values[3] = orjson.dumps(record.metrics).decode()
        return [*values, partition.number, message.offset]
    except ValueError as error:  # msgspec's errors are ValueErrors too
        logger.warning("%s offset %d breaks the contract: %s", partition, message.offset, error)
        return None
