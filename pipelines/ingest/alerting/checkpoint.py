"""A partition's state in the lake: `<tenant>/alerting/<topic>-<partition>.msgpack.zst`, replaced whole."""

from __future__ import annotations

import logging

import msgspec
import pyarrow as pa
from pyarrow.fs import FileSystem

from iotops.kafka import Partition
from iotops.lake import get, put
from iotops.tenancy import tenant_of_topic
from pipelines.ingest.alerting.evaluate import State

SIZE_BYTES = 8  # before the packed state, its unpacked size
VERSION = 1
logger = logging.getLogger(__name__)


def save(lake: FileSystem, partition: Partition, state: State) -> None:
    """Write a state; a reader finds the old one or the new one."""
    plain = msgspec.msgpack.encode((VERSION, state))
    packed = pa.compress(plain, codec="zstd", asbytes=True)
    put(lake, _path(partition), len(plain).to_bytes(SIZE_BYTES, "little") + packed)


def load(lake: FileSystem, partition: Partition) -> State | None:
    """The last state; None where there is none, or none of this version: the partition is then begun anew."""
    try:
        content = get(lake, _path(partition))
    except FileNotFoundError:
        return None
    size = int.from_bytes(content[:SIZE_BYTES], "little")
    plain = pa.decompress(content[SIZE_BYTES:], decompressed_size=size, codec="zstd", asbytes=True)
    try:
        version, state = msgspec.msgpack.decode(plain, type=tuple[int, msgspec.Raw])
        if version == VERSION:
            return msgspec.msgpack.decode(state, type=State)
    except msgspec.DecodeError as error:
        logger.warning("the alerting state of %s is not readable: %s", partition, error)
        return None
    logger.warning("the alerting state of %s has version %s, this is %s", partition, version, VERSION)
    return None


def _path(partition: Partition) -> str:
    area = tenant_of_topic(partition.topic).prefix("alerting")
    return f"{area}/{partition.topic}-{partition.number}.msgpack.zst"
