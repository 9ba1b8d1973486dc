"""Which articles explain a code, and how sure that is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from indexes.hits import Hit, HitScores
from indexes.hybrid import HybridIndex
from pipelines.knowledge.enrichment import candidates
from pipelines.knowledge.enrichment_match import SeenCode, explanations
from pipelines.knowledge.enrichment_tables import count_codes
from tests.unit.shelves import hashed, loaded, table

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def seen(code: str, message: str = "vibration high", models: tuple[str, ...] = ("HX-200",)) -> SeenCode:
    return SeenCode(code, message, list(models), devices=1, events=1, first_seen=NOON, last_seen=NOON)


def hit(title: str = "Bearing", text: str = "It is loud.", cosine: float = 0.5, **changes: object) -> Hit:
    values = {
        "section": "Causes",
        "uri": f"lake://acme/documents/{title}.md",
        "models": [],
        "firmware": [],
        "error_codes": [],
    }
    return Hit(
        doc_id=title, chunk_id="0", title=title, text=text, start=0, end=len(text), doc_type="", version="",
        updated=None, score=1.0, scores=HitScores(cosine, None, None, 1.0), **(values | changes),
    )  # fmt: skip


def test_where_an_article_names_the_code_says_how_sure_it_is() -> None:
    found = explanations(
        seen("E421"),
        [
            hit("Declares it", error_codes=["E421"]),
            hit("Text", "When E-421 is raised, stop."),
            hit("Heading", section="Runbooks > E421"),
            hit("E421: Vibration high", cosine=0.1),
            hit("Close in meaning", cosine=0.9),
        ],
        limit=5,
    )
    assert [each.hit.title for each in found] == ["E421: Vibration high", "Heading", "Text", "Declares it"]
    assert [each.confidence for each in found] == [0.91, 0.85, 0.7, 0.55]
    assert {each.method for each in found} == {"exact"}


@pytest.mark.parametrize(
    ("code", "title", "named"),
    [
        ("12", "Error 12", True),
        ("12", "HX-12 operating manual", False),
        ("12", "Firmware 4.12", False),
        ("12", "Firmware 12.4", False),
        ("OVERHEAT", "OVERHEAT: what to do.", True),
        ("OVERHEAT", "OVERHEATING", False),
    ],
)
def test_a_code_that_is_a_number_or_a_word_is_no_part_of_another(code: str, title: str, named: bool) -> None:
    found = explanations(seen(code), [hit(title, cosine=0.0)])
    assert [each.method for each in found] == ["exact"] * named


def test_by_meaning_only_what_is_near_and_only_by_a_message() -> None:
    near, far = hit("Near", cosine=0.6), hit("Far", cosine=0.3)
    (found,) = explanations(seen("V77"), [far, near])
    assert (found.hit.title, found.method) == ("Near", "hybrid")
    assert 0.45 < found.confidence < 0.5
    assert explanations(seen("V77", message=""), [near]) == []


def test_a_document_for_other_models_explains_nothing() -> None:
    other = hit("E421 on the CR-110", models=["CR-110"])
    assert explanations(seen("E421"), [other]) == []
    assert explanations(seen("E421", models=("HX-200", "cr110")), [other])
    assert explanations(seen("E421", models=()), [other]), "the devices' models are not known"


def test_documents_of_many_other_models_crowd_out_none_of_the_codes_own(tmp_path: Path) -> None:
    models = [f"HX-{number}" for number in range(100, 140)]
    manuals = table(*({"text": "E421: Vibration high.", "title": each, "models": [each]} for each in models))
    index = HybridIndex(loaded(tmp_path / "index", manuals))
    for model in (models[0], models[-1]):
        code = seen("E421", models=(model,))
        (found,) = explanations(code, candidates([index], code, hashed([code.message])[0]))
        assert found.hit.title == model


def test_one_document_gives_one_section() -> None:
    best, other = hit("E421"), hit("E421", section="Parts", cosine=0.4)
    (found,) = explanations(seen("E421"), [other, best])
    assert found.hit is best


def test_codes_are_counted_with_their_commonest_message() -> None:
    rows = [
        ("a", 1, "E1", "hot"),
        ("a", 2, "E1", "hot"),
        ("b", 0, "E1", "warm"),
        ("b", 5, "E2", None),
        ("b", 6, "", "x"),
    ]
    events = pa.Table.from_pylist(
        [
            {"device_id": device, "ts": NOON.replace(minute=minute), "error_code": code, "message": message}
            for device, minute, code, message in rows
        ],
        schema=pa.schema(
            [
                ("device_id", pa.string()),
                ("ts", pa.timestamp("us", "UTC")),
                ("error_code", pa.string()),
                ("message", pa.string()),
            ]
        ),
    )
    first, second = count_codes(events, [("a", "HX-200"), ("b", "CR-110"), ("c", "HX-450")])
    assert first == SeenCode("E1", "hot", ["CR-110", "HX-200"], 2, 3, NOON, NOON.replace(minute=2))
    assert (second.error_code, second.message, second.models) == ("E2", "", ["CR-110"])
