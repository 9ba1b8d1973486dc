"""Engines: what every one of them must be, without a database."""

from __future__ import annotations

import pytest

from iotops.database import engine
from iotops.settings import DatabaseSettings


@pytest.mark.parametrize("as_owner", [False, True])
def test_no_error_tells_what_was_looked_for(as_owner: bool) -> None:
    assert engine(DatabaseSettings(), as_owner=as_owner).hide_parameters
