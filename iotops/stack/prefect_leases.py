"""Where Prefect's server keeps who holds a slot: on disk, so that its restart leaves none taken for ever.

Its setting `server.concurrency.lease_storage` names this module.
"""

from __future__ import annotations

import json
from pathlib import Path

from prefect.server.concurrency.lease_storage import filesystem


class ConcurrencyLeaseStorage(filesystem.ConcurrencyLeaseStorage):
    """Prefect's own, whose index loses entries and keeps dead ones where two change it at once."""

    async def _load_expiration_index(self) -> dict[str, str]:
        """Without giving way: whoever reads the index writes it before another reads it."""
        return _read(Path(self._expiration_index_path()))


def _read(index: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(index.read_text()) if index.is_file() else {}
    return found
