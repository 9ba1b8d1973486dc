"""Training of a cross-encoder on lists: one text that answers a query, beside some that only look so.

The loss is the softmax cross-entropy of the right text's score within its list (Gao, Dai, Callan 2021,
"Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline": localized contrastive estimation).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
)

from iotops.models.hardware import preferred_device, preferred_dtype


@dataclass(frozen=True)
class Example:
    """A query, the text that answers it, and texts that do not."""

    query: str
    right: str
    wrong: tuple[str, ...]
    """The hardest to tell from the right one first."""


LEAST_LABELLED = 50
"""Fewer labelled examples are learned with the made ones: by themselves they would be learned by heart."""


@dataclass(frozen=True)
class Course:
    """How it is trained: on examples made from documents once, then on labelled ones again and again."""

    epochs: int = 3
    """Over the labelled examples; where they are few, over all."""
    wrong: int = 7
    """Texts beside the right one, drawn anew in each epoch."""
    lists: int = 4
    """Queries in a step."""
    learning_rate: float = 5e-5
    labelled_share: float = 0.6
    """Of the learning rate, for labelled examples: they are few, and faster they are learned by heart."""
    weight_decay: float = 0.01
    warm_up: float = 0.1
    """Share of the steps over which the rate rises, before it falls to 0."""
    max_tokens: int = 256
    """Of a query with a text."""
    seed: int = 0


def train(
    base: Path, made: Sequence[Example], labelled: Sequence[Example], output: Path, course: Course
) -> Iterator[tuple[float, float]]:
    """Train a cross-encoder from an encoder's folder and write it to another, in the hub's layout.

    Yields the share of the work that is done, and the mean loss since the last time.
    """
    torch.manual_seed(course.seed)
    device = preferred_device()
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, local_files_only=True, dtype=torch.float32
    ).to(device)
    # Without dropout: its random numbers take more than half of a step's time on a CPU.
    model.eval()
    stages = stages_of(made, labelled, course)
    losses: list[float] = []
    done, total = 0, sum(len(steps) for steps, _ in stages)
    for steps, rate in stages:
        optimizer = torch.optim.AdamW(_groups(model, course.weight_decay), lr=rate)
        schedule = get_linear_schedule_with_warmup(optimizer, int(course.warm_up * len(steps)), len(steps))
        for batch in steps:
            with torch.autocast(
                device, dtype=torch.bfloat16, enabled=preferred_dtype(device) == torch.bfloat16
            ):
                loss = _loss(model, tokenizer, batch, course.max_tokens)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            done += 1
            if done % max(1, total // 100) == 0 or done == total:
                yield done / total, sum(losses) / len(losses)
                losses.clear()
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def stages_of(
    made: Sequence[Example], labelled: Sequence[Example], course: Course
) -> list[tuple[list[list[Example]], float]]:
    """The examples of each step, stage by stage, and the learning rate of each stage."""
    if len(labelled) < LEAST_LABELLED:
        return [(list(_steps([*made, *labelled], course.epochs, course)), course.learning_rate)]
    return [
        (list(_steps(made, 1, course)), course.learning_rate),
        (list(_steps(labelled, course.epochs, course)), course.learning_rate * course.labelled_share),
    ]


def drawn(wrong: Sequence[str], count: int, draw: random.Random) -> tuple[str, ...]:
    """So many of the wrong texts by chance, more often from the first."""
    places = sorted(range(len(wrong)), key=lambda place: draw.random() ** (1 + place), reverse=True)
    return tuple(wrong[place] for place in places[:count])


def _steps(examples: Sequence[Example], epochs: int, course: Course) -> Iterator[list[Example]]:
    """The examples of each step; in every epoch in another order and with other wrong texts."""
    draw = random.Random(course.seed)
    for _ in range(epochs):
        order = [replace(each, wrong=drawn(each.wrong, course.wrong, draw)) for each in examples]
        draw.shuffle(order)
        yield from (order[first : first + course.lists] for first in range(0, len(order), course.lists))


def _loss(
    model: torch.nn.Module, tokenizer: AutoTokenizer, batch: Sequence[Example], max_tokens: int
) -> torch.Tensor:
    pairs = [(example.query, text) for example in batch for text in (example.right, *example.wrong)]
    queries, texts = zip(*pairs, strict=True)
    inputs = tokenizer(
        list(queries),
        list(texts),
        truncation="longest_first",
        max_length=max_tokens,
        padding=True,
        return_tensors="pt",
    )
    scores = model(**inputs.to(model.device)).logits.squeeze(-1).float()
    lists = torch.split(scores, [1 + len(example.wrong) for example in batch])
    target = torch.zeros(1, dtype=torch.long, device=scores.device)
    return torch.stack([cross_entropy(each[None], target) for each in lists]).mean()


def _groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Biases and norms do not decay."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
