"""Which changes of a silver table are applied, and which are refused with what changed."""

import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, IntegerType, LongType, NestedField, StringType

from iotops.errors import LakeError
from pipelines.lake.evolution import compare, refuse_breaking

STORED = Schema(
    NestedField(1, "device_id", StringType(), required=False),
    NestedField(2, "seq", IntegerType(), required=False),
    NestedField(3, "value", FloatType(), required=False),
)
SAME = {"device_id": StringType(), "seq": IntegerType(), "value": FloatType()}


def test_a_new_column_and_a_wider_type_are_applied() -> None:
    changes = compare(STORED, {**SAME, "seq": LongType(), "value": DoubleType(), "site": StringType()})
    assert changes.added == {"site": StringType()}
    assert changes.widened == {"seq": LongType(), "value": DoubleType()}
    refuse_breaking({"acme.telemetry": changes})
    assert not compare(STORED, SAME).widened


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({**SAME, "value": StringType()}, "value changed from float to string"),
        ({"device_id": StringType(), "seq": IntegerType()}, "value (float) is no longer declared"),
        (
            {"device_id": StringType(), "seq": IntegerType(), "reading": FloatType()},
            "value (float) is no longer declared, or was renamed to reading",
        ),
    ],
)
def test_a_breaking_change_is_refused_by_name(declared: dict[str, StringType], words: str) -> None:
    with pytest.raises(LakeError) as refused:
        refuse_breaking({"acme.telemetry": compare(STORED, declared)})
    assert f"acme.telemetry: {words}" in str(refused.value)
    assert "Nothing was written" in str(refused.value)
