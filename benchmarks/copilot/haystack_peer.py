"""`python -m benchmarks.copilot.haystack_peer FOLDER`: question answering as Haystack's tutorials build it.

It indexes the folder's `documents.jsonl` by `peer.json`, then answers each question that a line of stdin
names, in JSON lines: the time to the first token and to the last, the answer, and the documents it used.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

DOCUMENTS, SETUP = "documents.jsonl", "peer.json"
WORDS = 150
"""Of a passage: five of them are as much text as the copilot gives the model."""
TEMPLATE = """
Given the following information, answer the question.

Context:
{% for document in documents %}
    {{ document.content }}
{% endfor %}

Question: {{question}}
Answer:
"""


def main() -> None:
    """Index, say so, and answer until stdin ends."""
    folder = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    started = time.perf_counter()
    setup = json.loads((folder / SETUP).read_text())
    lines = (folder / DOCUMENTS).read_text().splitlines()
    store = indexed([json.loads(line) for line in lines], setup["embedder"])
    pipeline = assembled(store, setup)
    ready = {"ready_s": time.perf_counter() - started, "passages": store.count_documents()}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answered(pipeline, json.loads(line))), file=answers, flush=True)


def indexed(documents: list[dict[str, str]], embedder: str) -> Any:
    """A store of the documents' passages with their vectors."""
    from haystack import Document
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.document_stores.types import DuplicatePolicy
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    splitter = DocumentSplitter(split_by="word", split_length=WORDS)
    splitter.warm_up()
    embed = SentenceTransformersDocumentEmbedder(
        model=embedder, progress_bar=False, meta_fields_to_embed=["title"]
    )
    embed.warm_up()
    whole = [Document(content=each["text"], meta={"title": each["title"]}) for each in documents]
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    passages = embed.run(documents=splitter.run(documents=whole)["documents"])["documents"]
    store.write_documents(passages, policy=DuplicatePolicy.SKIP)
    return store


def assembled(store: Any, setup: dict[str, Any]) -> Any:
    """The pipeline: words and vectors, joined by reciprocal rank, into a prompt, to the model server."""
    from haystack import Pipeline
    from haystack.components.builders import ChatPromptBuilder
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.components.joiners import DocumentJoiner
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
    from haystack.dataclasses import ChatMessage
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersTextEmbedder,
    )

    pipeline = Pipeline()
    embedder = SentenceTransformersTextEmbedder(model=setup["embedder"], progress_bar=False)
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("near", InMemoryEmbeddingRetriever(store))
    pipeline.add_component("words", InMemoryBM25Retriever(store))
    pipeline.add_component("joined", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=setup["top_k"]))
    pipeline.add_component("prompt", ChatPromptBuilder([ChatMessage.from_user(TEMPLATE)]))
    pipeline.add_component(
        "llm",
        OpenAIChatGenerator(
            model=setup["model"],
            api_base_url=setup["url"],
            generation_kwargs={"max_tokens": setup["max_tokens"], "temperature": 0},
            max_retries=0,
        ),
    )
    pipeline.connect("embedder.embedding", "near.query_embedding")
    pipeline.connect("near", "joined")
    pipeline.connect("words", "joined")
    pipeline.connect("joined", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    pipeline.warm_up()
    return pipeline


def answered(pipeline: Any, question: str) -> dict[str, Any]:
    """An answer and what it took (ms)."""
    started, first = time.perf_counter(), 0.0

    def told(chunk: Any) -> None:
        nonlocal first
        if chunk.content and not first:
            first = time.perf_counter()

    inputs = {
        "embedder": {"text": question},
        "words": {"query": question},
        "prompt": {"question": question},
        "llm": {"streaming_callback": told},
    }
    found = pipeline.run(inputs, include_outputs_from={"joined"})
    ended = time.perf_counter()
    return {
        "first_ms": ((first or ended) - started) * 1000,
        "whole_ms": (ended - started) * 1000,
        "answer": found["llm"]["replies"][0].text,
        "documents": [
            {"title": document.meta["title"], "content": document.content}
            for document in found["joined"]["documents"]
        ],
    }


if __name__ == "__main__":
    main()
