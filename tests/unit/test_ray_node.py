"""Starting Ray on a machine that is busy, and what is left of it when it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from iotops.errors import StackError
from iotops.settings import Settings
from iotops.stack.process import Launch
from iotops.stack.ray_node import RayNode
from iotops.stack.server import LOG_BYTES

SLOW = "The current node timed out during startup. This could happen because ..."


class Busy(RayNode):
    """A node whose process says why it fails, of each start the next of `failures`, else answers at once."""

    def __init__(self, home: Path, failures: list[str]) -> None:
        super().__init__(Settings(home=home))
        self.failures, self.starts = failures, 0
        self.log.parent.mkdir(parents=True)

    def ports(self) -> dict[int, str]:
        return {}

    def prepare(self) -> None:
        self.starts += 1

    def launch(self) -> Launch:
        script = "import signal; signal.pause()"
        if self.starts <= len(self.failures):
            script = f"raise SystemExit({self.failures[self.starts - 1]!r})"
        return Launch([sys.executable, "-c", script])

    def probe(self) -> None:
        if self.starts <= len(self.failures):
            raise ConnectionError


@pytest.mark.parametrize(
    ("failures", "starts", "fails"),
    [([SLOW], 2, False), ([SLOW, SLOW], 2, True), (["port 6379 is taken"], 1, True), ([], 1, False)],
)
def test_it_is_started_once_more_where_ray_gave_up_on_itself(
    tmp_path: Path, failures: list[str], starts: int, fails: bool
):
    node = Busy(tmp_path, failures)
    if fails:
        with pytest.raises(StackError, match=failures[-1][:20]):
            node.start()
    else:
        node.start()
        assert node.root() is not None
        node.stop()
    assert node.starts == starts
    assert node.root() is None


def test_a_long_log_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    node = Busy(tmp_path, [])
    before = node.log.with_name("ray.log.1")
    before.write_text("from the start before")
    node.log.touch()
    os.truncate(node.log, LOG_BYTES + 1)
    node.start()
    node.stop()
    assert before.stat().st_size > LOG_BYTES > node.log.stat().st_size


def test_the_logs_of_the_latest_sessions_are_kept(tmp_path: Path) -> None:
    node = RayNode(Settings(home=tmp_path))
    kept = tmp_path / "logs"
    kept.mkdir()
    (kept / "ray.log").touch()
    for minute in range(5):
        session = node.session / "ray" / f"session_2026-11-28_03-0{minute}-00_123456_7"
        (session / "logs" / "serve").mkdir(parents=True)
        (session / "logs" / "serve" / "replica.log").write_text(f"audit {minute}")
        (node.session / "ray" / "session_latest").symlink_to(session)
        node.stop()
        assert not node.session.exists()
    found = {log.parts[-3]: log.read_text() for log in kept.glob("*/serve/replica.log")}
    assert found == {f"ray-2026-11-28_03-0{minute}-00_123456_7": f"audit {minute}" for minute in (2, 3, 4)}
    assert (kept / "ray.log").is_file()
