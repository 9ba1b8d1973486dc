"""Starting Ray on a machine that is busy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from iotops.errors import StackError
from iotops.settings import Settings
from iotops.stack.process import Launch
from iotops.stack.ray_node import RayNode

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
