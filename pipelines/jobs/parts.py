"""The finished parts of a job, kept under its output, so that a run after a kill does what is left."""

from __future__ import annotations

import io
from collections.abc import Sequence

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from iotops.errors import IotOpsError
from pipelines.jobs.places import Place

RECORD = "_job.json"
"""What the parts are parts of; readers of Parquet folders skip names that begin with `_`."""
SUFFIX = ".parquet"


class Parts:
    """Parquet files of a folder, each written whole, which belong to one job and its arguments."""

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    def claim(self, arguments: dict[str, str]) -> None:
        """Begin, or go on with, the work that `arguments` describe.

        Raises `IotOpsError` where the folder holds the work of other arguments.
        """
        held = self._held()
        if held is None:
            self.folder.below(RECORD).write(orjson.dumps(arguments))
        elif different := sorted(name for name in held | arguments if held.get(name) != arguments.get(name)):
            raise IotOpsError(
                f"{self.folder} holds another job's work, which differs in {' and '.join(different)}: "
                "name another --output, or remove it"
            )

    def restart_unless(self, arguments: dict[str, str]) -> None:
        """Go on with the work that `arguments` describe; drop what the folder holds of any other."""
        if self._held() != arguments:
            self.folder.remove()
            self.claim(arguments)

    def done(self) -> set[str]:
        """Names of the finished parts."""
        return {name.removesuffix(SUFFIX) for name in self.folder.names() if name.endswith(SUFFIX)}

    def left(self, names: Sequence[str]) -> list[str]:
        """Those of the names that are not finished, in order."""
        done = self.done()
        return [name for name in names if name not in done]

    def write(self, name: str, rows: pa.Table) -> None:
        """Finish a part."""
        content = io.BytesIO()
        pq.write_table(rows, content, compression="zstd")
        self.folder.below(name + SUFFIX).write(content.getvalue())

    def read(self, name: str) -> pa.Table:
        """The rows of a finished part."""
        return pq.read_table(io.BytesIO(self.folder.below(name + SUFFIX).read()))

    def _held(self) -> dict[str, str] | None:
        if RECORD not in self.folder.names():
            return None
        held: dict[str, str] = orjson.loads(self.folder.below(RECORD).read())
        return held


def part_name(number: int) -> str:
    """Name of a numbered part."""
    return f"part-{number:05d}"


def part_names(count: int) -> list[str]:
    """Names of `count` numbered parts."""
    return [part_name(number) for number in range(count)]
