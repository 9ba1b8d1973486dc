"""A reranker trained on a shelf where only the labels tell right from wrong."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.models import resolve_role
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.alone import INDEXING, alone
from pipelines.evaluation.labelled import add_set
from pipelines.evaluation.weights import reranker_of
from pipelines.knowledge.enrichment import current_snapshots
from pipelines.knowledge.shelf import index_shelf
from pipelines.knowledge.store import add_documents
from pipelines.tuning.training import Course
from pipelines.tuning.tune import tune
from tests.waiting import eventually

TENANT, SMALL = Tenant("tuned"), Tenant("too_small")
PARTS = "pump valve fan belt motor gasket sensor filter bearing hose relay fuse coil rotor piston".split()
PLACES = "inlet outlet cellar roof yard hall tower tunnel dock kiln silo press".split()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages on each thing, alike but for what they are: the labels want the remedy."""
    folder: Path = tmp_path_factory.mktemp("tuning")
    (folder / "shelf").mkdir()
    (folder / "labels" / "qrels").mkdir(parents=True)
    queries, qrels = [], ["query-id\tcorpus-id\tscore"]
    for part in PARTS:
        for place in PLACES:
            name = f"{place}-{part}"
            for kind in ("history", "remedy"):
                page = folder / "shelf" / f"{name}-{kind}.md"
                page.write_text(f"# The {part} of the {place}\n\nThis is the {kind} of the {place} {part}.\n")
            queries.append(json.dumps({"_id": name, "text": f"trouble with the {part} of the {place}"}))
            qrels.append(f"{name}\t{name}-remedy\t1")
    (folder / "labels" / "queries.jsonl").write_text("\n".join(queries))
    (folder / "labels" / "qrels" / "test.tsv").write_text("\n".join(qrels))
    return folder


@pytest.fixture
def small_model(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reranker that is there: a real one that knows nothing, small enough to learn in seconds."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_role(settings, "embedder").path)
    shape = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=128, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForSequenceClassification(shape).save_pretrained(tmp_path / "small")
    tokenizer.save_pretrained(tmp_path / "small")
    monkeypatch.setenv("IOTOPS_MODEL_RERANKER", str(tmp_path / "small"))


def test_a_reranker_is_switched_on_where_it_wins(settings: Settings, shelf: Path, small_model: None) -> None:
    create_tenant(settings, TENANT)
    lake = lake_filesystem(settings.lake)
    add_documents(lake, TENANT.id, [shelf / "shelf"])
    assert add_set(lake, TENANT, shelf / "labels") == "labels"
    index_shelf(settings, TENANT.id)
    said: list[str] = []
    course = Course(epochs=4, learning_rate=1e-3)
    with ThreadPoolExecutor(1) as pool:
        with alone(settings, INDEXING, TENANT.id, said.append):
            waits = pool.submit(tune, settings, TENANT, course, said.append)
            eventually(lambda: "waiting for another indexing of tuned" in said or waits.done(), 300)
            assert not waits.done(), "the index may be built meanwhile"
        tuning = waits.result(60)
    assert tuning.verdict.wins, str(tuning)
    assert tuning.verdict.after > tuning.verdict.before + 0.1
    assert tuning.labelled > 100
    assert tuning.current is not None
    assert tuning.current.after < tuning.verdict.after, "the one that it was made from knew nothing"
    manifest = current_snapshots(settings, TENANT)[TENANT.id].manifest
    assert (manifest.snapshot_id, manifest.reranker_weight) == (tuning.snapshot_id, tuning.verdict.weight)
    scorer = reranker_of(settings, TENANT.id, manifest)
    assert scorer is not None
    assert scorer.model.checksum == manifest.reranker
    remedy, history = scorer.score("trouble with the fan of the kiln", ["the remedy", "the history"])
    assert remedy > history
    assert any(each.startswith("trained 100%") for each in said)


def test_a_shelf_too_small_to_judge_by_is_refused(settings: Settings, tmp_path: Path) -> None:
    create_tenant(settings, SMALL)
    with pytest.raises(IotOpsError, match="has no index"):
        tune(settings, SMALL, Course(), print)
    (tmp_path / "page.md").write_text("# A page\n\nOne is too few.\n")
    add_documents(lake_filesystem(settings.lake), SMALL.id, [tmp_path / "page.md"])
    index_shelf(settings, SMALL.id)
    with pytest.raises(IotOpsError, match="too small to judge"):
        tune(settings, SMALL, Course(), print)
