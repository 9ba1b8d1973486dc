"""The real embedding model, and a cross-encoder with the real architecture and random weights."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from indexes.cross_encoder import RelevanceScorer
from indexes.encoder import SentenceEncoder
from indexes.encoder_source import EncoderShape, encoder_shape
from iotops.models import resolve_role
from iotops.models.hardware import preferred_dtype
from iotops.settings import Settings

TEXTS = [
    "The bearing of the drive motor is overheating.",
    "Motor bearing temperature is too high.",
    "The invoice must be paid within thirty days.",
    "E421: vibration above the limit at the drive end.",
    "",
    "A long description of the hydraulic circuit. " * 60,
]


@pytest.fixture(scope="module")
def model():
    return resolve_role(Settings(), "embedder")


@pytest.fixture(scope="module")
def encoder(model):
    return SentenceEncoder(model)


def test_vectors_are_unit_length_float32_and_in_order(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimension) == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert (vectors * alone).sum(axis=1).min() > 0.999


def test_sentences_that_mean_the_same_are_nearest(encoder):
    hot, overheating, invoice, _, _, _ = encoder.encode(TEXTS)
    assert hot @ overheating > 0.7
    assert hot @ invoice < 0.3


def test_shape_is_asked_once_and_anew_when_the_model_changes(model, encoder, tmp_path):
    copy = model.model_copy(update={"path": tmp_path / "model"})
    shutil.copytree(model.path, copy.path)
    shape = encoder_shape(copy, tmp_path)
    assert shape == EncoderShape(dimension=encoder.dimension, max_tokens=encoder.max_tokens)
    without_torch = """
import sys
from pathlib import Path
from indexes.encoder_source import encoder_shape
from iotops.models.resolution import ResolvedModel
model, cache = sys.stdin.read().split("\\n")
print(encoder_shape(ResolvedModel.model_validate_json(model), Path(cache)).model_dump_json())
assert "torch" not in sys.modules
"""
    given = f"{copy.model_dump_json()}\n{tmp_path}"
    command = [sys.executable, "-c", without_torch]
    told = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    assert EncoderShape.model_validate_json(told.stdout) == shape
    (copy.path / "sentence_bert_config.json").write_text('{"max_seq_length": 100, "do_lower_case": false}')
    assert encoder_shape(copy, tmp_path).max_tokens == 100


def test_bfloat16_agrees_with_float32(model):
    half = SentenceEncoder(model, dtype=torch.bfloat16).encode(TEXTS)
    full = SentenceEncoder(model, dtype=torch.float32).encode(TEXTS)
    assert (half * full).sum(axis=1).min() > 0.99


def test_max_tokens_bounds_what_is_read(model):
    short = SentenceEncoder(model, max_tokens=16)
    assert short.max_tokens == 16
    beginning, longer = short.encode(["pump " * 14, "pump " * 14 + "invoice " * 50])
    assert beginning @ longer > 0.999


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 384)


@pytest.fixture
def cross_encoder_folder(model, tmp_path):
    """A tiny cross-encoder with random weights and the embedder's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_cross_encoder_scores_pairs_as_transformers_does(cross_encoder_folder, monkeypatch):
    monkeypatch.setenv("IOTOPS_MODEL_RERANKER", str(cross_encoder_folder))
    scorer = RelevanceScorer(resolve_role(Settings(), "reranker"))
    scores = scorer.score("bearing too hot", TEXTS[:4])
    assert scores.shape == (4,)
    assert scores.dtype == np.float32
    assert len(set(scores.tolist())) == 4

    tokenizer = AutoTokenizer.from_pretrained(cross_encoder_folder)
    reference = BertForSequenceClassification.from_pretrained(
        cross_encoder_folder, dtype=preferred_dtype("cpu")
    ).eval()
    with torch.no_grad():
        batch = tokenizer(["bearing too hot"] * 4, TEXTS[:4], padding=True, return_tensors="pt")
        logits = reference(**batch).logits[:, 0].float().numpy()
    np.testing.assert_allclose(scores, logits, atol=0.01)
    assert scorer.score("bearing too hot", []).shape == (0,)


def test_a_model_with_several_outputs_is_no_reranker(cross_encoder_folder, monkeypatch):
    config = BertConfig.from_pretrained(cross_encoder_folder, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(cross_encoder_folder)
    monkeypatch.setenv("IOTOPS_MODEL_RERANKER", str(cross_encoder_folder))
    with pytest.raises(ValueError, match="3 outputs"):
        RelevanceScorer(resolve_role(Settings(), "reranker"))
