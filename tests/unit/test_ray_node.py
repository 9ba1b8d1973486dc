"""Starting Ray on a machine that is busy."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotops.errors import StackError
from iotops.settings import Settings
from iotops.stack.ray_node import RayNode
from iotops.stack.server import Server

SLOW = "ray ended with status 1: The current node timed out during startup. This could happen because ..."


@pytest.mark.parametrize(
    ("failures", "starts", "fails"),
    [([SLOW], 2, False), ([SLOW, SLOW], 2, True), (["port 6379 is taken"], 1, True), ([], 1, False)],
)
def test_it_is_started_once_more_where_ray_gave_up_on_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: list[str], starts: int, fails: bool
):
    left, begun = list(failures), []

    def start(self: Server) -> None:
        begun.append(self.name)
        if left:
            raise StackError(left.pop(0))

    monkeypatch.setattr(Server, "start", start)
    node = RayNode(Settings(home=tmp_path))
    if fails:
        with pytest.raises(StackError):
            node.start()
    else:
        node.start()
    assert begun == ["ray"] * starts
