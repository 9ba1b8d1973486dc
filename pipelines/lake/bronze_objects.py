"""Bronze as the loader sees it: which objects each arrival hour has, and what is in them."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from isal import igzip
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from iotops.lake import get
from iotops.tenancy import Tenant
from pipelines.lake.record_tables import UTC_US

HOUR_FOLDER = re.compile(r"/(\d{4}-\d{2}-\d{2}/\d{2})/[^/]+$")
TRANSFERS = 8
GROUP = pa.schema([("object", pa.string()), ("arrival_hour", UTC_US)])
"""Path and arrival hour of the bronze objects of a task."""


@dataclass(frozen=True)
class BronzeHour:
    """The objects of one arrival hour; `listing` changes whenever one is added or overwritten."""

    arrival_hour: datetime
    objects: tuple[FileInfo, ...]

    @property
    def listing(self) -> str:
        """Digest of the objects' paths, sizes and times of writing."""
        digest = hashlib.sha256()
        for info in self.objects:
            digest.update(f"{info.path} {info.size} {info.mtime_ns}\n".encode())
        return digest.hexdigest()

    @property
    def bytes(self) -> int:
        """Compressed size of the objects together."""
        return sum(info.size for info in self.objects)


def list_hours(filesystem: FileSystem, tenant: Tenant, since: datetime | None = None) -> list[BronzeHour]:
    """The arrival hours that have objects, in order; only days from that of `since` (UTC) on are listed."""
    root = f"{tenant.prefix('bronze')}/raw"
    days = filesystem.get_file_info(FileSelector(root, allow_not_found=True))
    first = f"{since.astimezone(UTC):%Y-%m-%d}" if since else ""
    found: dict[datetime, list[FileInfo]] = {}
    for day in days:
        if day.type == FileType.Directory and day.base_name >= first:
            for info in filesystem.get_file_info(FileSelector(day.path, recursive=True)):
                folder = HOUR_FOLDER.search(info.path)
                if info.type == FileType.File and folder:
                    hour = datetime.strptime(folder[1], "%Y-%m-%d/%H").replace(tzinfo=UTC)
                    found.setdefault(hour, []).append(info)
    return [
        BronzeHour(hour, tuple(sorted(objects, key=lambda info: info.path)))
        for hour, objects in sorted(found.items())
    ]


def group_objects(hours: Iterable[BronzeHour], tasks: int) -> list[pa.Table]:
    """The hours' objects as at most `tasks` tables (`GROUP`), about equally large.

    A Kafka partition's objects stay together: a device's records are all in one partition, so whoever
    reads the group sees every copy of them.
    """
    partitions: dict[str, list[tuple[str, datetime]]] = {}
    sizes: dict[str, int] = {}
    for hour in hours:
        for info in hour.objects:
            name = info.base_name.rpartition("-")[0]  # <topic>-<partition>
            partitions.setdefault(name, []).append((info.path, hour.arrival_hour))
            sizes[name] = sizes.get(name, 0) + info.size
    groups: list[list[tuple[str, datetime]]] = [[] for _ in range(tasks)]
    filled = [0] * tasks
    for name in sorted(partitions, key=lambda name: -sizes[name]):
        emptiest = filled.index(min(filled))
        groups[emptiest] += partitions[name]
        filled[emptiest] += sizes[name]
    return [pa.table(list(zip(*group, strict=True)), schema=GROUP) for group in groups if group]


def read_objects(filesystem: FileSystem, group: pa.Table) -> Iterator[tuple[str, datetime, bytes]]:
    """Path, arrival hour and lines of each object of a group, in the order of arrival and path.

    `TRANSFERS` of them are in memory at a time; what is unreadable of one is a last line.
    """
    in_order = group.sort_by([("arrival_hour", "ascending"), ("object", "ascending")])
    waiting = zip(*(in_order[name].to_pylist() for name in GROUP.names), strict=True)
    with ThreadPoolExecutor(TRANSFERS) as pool:
        reading = deque[tuple[str, datetime, Future[bytes]]]()
        for path, hour in waiting:
            reading.append((path, hour, pool.submit(get, filesystem, path)))
            if len(reading) == TRANSFERS:
                yield _read(*reading.popleft())
        while reading:
            yield _read(*reading.popleft())


def _read(path: str, hour: datetime, compressed: Future[bytes]) -> tuple[str, datetime, bytes]:
    return path, hour, lines_of(compressed.result())


def lines_of(compressed: bytes) -> bytes:
    """The lines of a gzip object; of a broken one those before the damage and one that says what it is."""
    try:
        content, problem = bytes(igzip.decompress(compressed)), ""
    except (OSError, EOFError, zlib.error):
        content, problem = _readable(compressed)
    if not problem and content:
        return content
    whole, _, rest = content.rpartition(b"\n")
    cut = b"; at the damage: " + rest if rest else b""
    damage = f"unreadable object: {problem or 'it is empty'}".encode() + cut
    return b"\n".join([whole, damage] if whole else [damage])


def _readable(compressed: bytes) -> tuple[bytes, str]:
    """The content, and what is wrong with it; a member with an error is left out, one cut short kept."""
    members: list[bytes] = []
    rest = compressed
    while rest:
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip
        try:
            members.append(stream.decompress(rest))
        except zlib.error as error:
            return b"".join(members), str(error)
        if not stream.eof:
            return b"".join(members), "it is cut short"
        rest = stream.unused_data.lstrip(b"\0")
    return b"".join(members), ""
