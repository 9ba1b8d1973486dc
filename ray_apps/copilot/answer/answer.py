"""From a question to an answer whose every sentence is cited, told as it is written."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from indexes.tokens import Tokens
from iotops.models.catalogue import ModelSpec
from iotops.settings import CopilotSettings
from iotops.tenancy import Tenant
from ray_apps.chat import Completion, Proposal, Writing
from ray_apps.copilot.answer import compose, grounding
from ray_apps.copilot.answer.compose import Sentence
from ray_apps.copilot.answer.grounding import Support
from ray_apps.copilot.answer.prompt import messages, tool_messages
from ray_apps.copilot.answer.reader import Reader
from ray_apps.copilot.answer.unknown import unknown
from ray_apps.copilot.answer.writer import Writer
from ray_apps.copilot.contracts import Citation, GuardReport, Token, ToolCall, Trace
from ray_apps.copilot.events import Event, Tell, ms
from ray_apps.copilot.evidence.evidence import SENDS_NOTHING, Evidence
from ray_apps.copilot.evidence.lookup import Lookup
from ray_apps.copilot.evidence.passages import Quote
from ray_apps.copilot.evidence.tools import accepted, schemas
from ray_apps.copilot.guard.guard import Guard
from ray_apps.copilot.language.text import plain, spoken
from ray_apps.copilot.language.words import content_words
from ray_apps.copilot.question.follow_up import Asked
from ray_apps.copilot.question.leaving_out import split
from ray_apps.copilot.question.naming import Known, spelt_out
from ray_apps.copilot.question.period import without_period
from ray_apps.copilot.question.planner import ACTION, symptom
from ray_apps.copilot.recording import note
from ray_apps.routing import ChatModel

logger = logging.getLogger(__name__)

FACTS, STEPS = 3, 4
READ_FIRST = 2
"""Passages that are read before the others where no record was asked for: they may open the answer."""
SENTENCE_ENDED = re.compile(r"[.!?][\"')\]*_`]*\s*$")
OPENING = 0.75
"""A source's sentence that fits the question so well (0-1) opens the answer, while the model still reads."""
LATE_OPENING, LATE_S = 0.45, 0.5
"""One that fits so well does where the model has shown nothing so long (s) after the question."""
MEASURES = re.compile(
    r"\b(?:max(?:imum)?|min(?:imum)?|peak|highest|lowest|average|avg|mean|trend|values?|readings?)\b", re.I
)
TOOLS_TOKENS = 160
"""For a model to say which tools it would use."""


@dataclass
class Draft:
    """An answer, with all that it rests on; one that is not `complete` lacks a part that failed."""

    answer: str
    citations: list[Citation]
    grounded: bool
    extractive: bool
    tools: list[ToolCall]
    guard: GuardReport
    timings_ms: dict[str, float | str | None]
    completions: list[Completion]
    """All that language models read and wrote for it, calls of tools too."""
    model: str = "none"
    """Name of the one that wrote of it."""
    complete: bool = True
    indexes: frozenset[str] = frozenset()
    """Those in which documents were searched for it."""


class Answerer:
    """Looks up, drafts with the language model and keeps what the sources support."""

    def __init__(
        self,
        settings: CopilotSettings,
        model: ModelSpec,
        tokens: Tokens,
        lookup: Lookup,
        chat: ChatModel,
        guard: Guard,
    ) -> None:
        """`model` says how many `tokens` the first model of `chat` is given, and how long it may write."""
        self._settings, self._model, self._tokens = settings, model, tokens
        self._lookup, self._chat, self._guard = lookup, chat, guard

    async def answer(self, tenant: Tenant, asked: Asked, top_k: int, tell: Tell) -> Draft:
        """Answer for a tenant; says that it does not know rather than guess."""
        started, begun = time.perf_counter(), asyncio.get_running_loop().time()
        found, (proposal, failed) = await asyncio.gather(
            self._lookup.gather(tenant, asked, top_k, tell), self._proposed(asked)
        )
        found.incomplete |= failed
        if proposal:
            await self._call(tenant, proposal, asked, found, tell)

        def timed(event: Event) -> None:
            if isinstance(event, Token):
                found.timings_ms.setdefault("first_token", ms(started))
            tell(event)

        reader = Reader(self._lookup, self._guard, tenant, asked, found)
        writer = Writer(found, FACTS, asked.plan.action, reader.check.clean, timed)
        await reader.passages(found.lead or READ_FIRST)
        # A sentence of a document may be one of the steps, which are not known yet.
        if (found.lead or not asked.plan.action) and self._sure(asked, found, []):
            self._open(asked, found, writer)
        # What the fleet's records say is the answer, unless it has codes that documents tell of.
        suffices = asked.plan.state and found.of_fleet and not found.focus
        if not suffices:
            await reader.passages()
        await reader.tools()
        if asked.plan.action and not suffices:
            writer.guide = self._guide(asked, found)
        writing, complete = None, True
        if writer.text or self._sure(asked, found, writer.guide):
            if not writer.text:
                self._open(asked, found, writer)
            best = _best(asked, found, writer.guide)

            def open_late() -> None:
                for support in best:  # one that a step says shows nothing by itself
                    if not writer.text and support.score >= LATE_OPENING:
                        writer.quote([support])

            if not suffices:
                with _once(begun + LATE_S, open_late):
                    writing, complete = await self._draft(asked, found, writer, tell, begun)
            writer.quote(best)
            writer.steps()
        grounded = bool(writer.text)
        if not grounded:
            writer.unknown(unknown(asked, found))
        tools = await asyncio.to_thread(self._guard.cleaned, found.tools, reader.check)
        found.timings_ms["total"] = ms(started)
        draft = Draft(
            writer.text,
            writer.citations,
            grounded,
            grounded and not writer.drafted,
            tools,
            reader.report,
            found.timings_ms,
            [*([proposal.completion] if proposal else []), *(writing.completions if writing else [])],
            writing.completion.model if writing and writing.completion else "none",
            complete and not found.incomplete,
            found.indexes,
        )
        reader.report.removed = dict(reader.check.removed)
        return draft

    @staticmethod
    def _guide(asked: Asked, found: Evidence) -> list[Quote]:
        """The steps to take; for a device, none of a document that knows nothing of what is to be done."""
        told = SENDS_NOTHING if asked.plan.silent and found.devices else symptom(asked.whole)
        guide = compose.steps(told, found.focus, found.passages, STEPS)
        words = content_words(told)
        if guide and words and found.devices and not asked.plan.state:
            followed = found.passages[guide[0].passage]
            document = (each for each in found.passages if each.doc_id == followed.doc_id)
            known = content_words(" ".join(f"{e.title} {e.section} {e.text}" for e in document))
            return guide if words & known else []
        return guide

    def _open(self, asked: Asked, found: Evidence, writer: Writer) -> None:
        """Tell the records asked for, else the sentence that fits well, while the model still reads."""
        lead = [Support(n, 1.0) for n, quote in enumerate(found.sources) if quote.passage < found.lead]
        writer.room += len(lead)
        best = _best(asked, found, writer.guide)[:1]
        writer.quote(lead or [each for each in best if each.score >= OPENING])

    async def _proposed(self, asked: Asked) -> tuple[Proposal | None, bool]:
        """The tools that the language model would use, if it can call any, and whether it failed to say so;
        an answer needs none of them."""
        try:
            proposal = await self._chat.propose(tool_messages(asked.whole), schemas(), TOOLS_TOKENS)
        except Exception:
            logger.exception("the language model did not say which tools it would use")
            return None, True
        if proposal:
            note().completions.append(proposal.completion)
        return proposal, False

    async def _call(
        self, tenant: Tenant, proposal: Proposal, asked: Asked, found: Evidence, tell: Tell
    ) -> None:
        """Run, as the caller's tenant, those calls of the model that hold and were not made already."""
        started = time.perf_counter()
        wanted, dropped = accepted(proposal.calls, found.tools)
        for reason in dropped:
            tell(Trace(message=f"a call of the model was dropped: {reason}"))
        await self._lookup.call(tenant, wanted, found, asked.plan, tell)
        found.timings_ms |= {"llm_tools": round(proposal.completion.total_s * 1000, 1), "tools": ms(started)}

    def _sure(self, asked: Asked, found: Evidence, guide: list[Quote]) -> bool:
        """Whether the evidence fits the question well enough for an answer.

        What happened, and how things are, is told by records, whatever words ask for it, and so is what to do
        about a device, though no document knows the symptom; what the question names must stand somewhere.
        Steps to take answer the words that ask for them, such as `fix`, which runbooks seldom use; words for
        a time were answered by looking there.
        """
        question, _ = split(asked.whole)  # of what is left out nothing need be known
        question = spelt_out(without_period(question, datetime.now(UTC)), asked.plan.known or Known())
        if found.devices:  # whose readings are told with their range and average
            question = MEASURES.sub(" ", question)
        if asked.plan.action and not compose.holds_facts(
            " ".join(found.unreported), found.passages[found.lead :]
        ):
            return False  # nobody knows the code: neither the device nor a document
        of_device = asked.plan.action and found.devices
        told = found.lead and (asked.plan.state or asked.plan.fleet_incidents or of_device)
        if told and compose.holds_facts(question, found.passages):
            return True
        question = ACTION.sub(" ", question) if guide else question
        best = max(found.cosines, default=0.0)
        return compose.confidence(question, found.passages, best) >= self._settings.least_confidence

    async def _draft(
        self, asked: Asked, found: Evidence, writer: Writer, tell: Tell, begun: float
    ) -> tuple[Writing, bool]:
        """Write each sentence of the model's as soon as a source supports it, until there is no more room.

        What the model wrote, and whether it had its time and did not fail: an answer from the sources alone
        beats none, and one in time beats a longer one. A model that says nothing to anybody meanwhile may
        hang: it has failed, and is sounded out beside the answers. `begun` is when the question came, by the
        event loop's clock (s). Whatever is written is noted as it comes, for a caller who leaves before the
        end.
        """
        started, said = time.perf_counter(), self._chat.said
        tell(Trace(message="writing from the sources"))
        documents = found.passages[found.lead :] or found.passages
        titles = [passage.title for passage in documents]
        prompt = messages(asked.whole, documents, self._model.context_tokens, self._tokens)
        writing = self._chat.stream(prompt, self._settings.answer_tokens)
        note().writings.append(writing)
        try:
            async with asyncio.timeout_at(begun + self._model.answer_s), aclosing(writing.pieces()) as pieces:
                async for sentence in spoken(pieces):
                    if _cut_off(writing, sentence):
                        break
                    claim = grounding.claim(sentence, titles)
                    support = await self._support(claim, found) if claim else None
                    if support and not (
                        found.devices and _stray(found.sources[support.quote], found, writer.guide)
                    ):
                        writer.sentence(Sentence(_completed(claim, found.sources[support.quote]), support))
                    if writer.full:
                        break
        except TimeoutError:
            logger.info("the language model had not written all after %s s", self._model.answer_s)
            heard = self._chat.said > said
            if not heard:
                self._chat.sound_out()
            return writing, heard
        except Exception:
            logger.exception("the language model gave no whole draft; quoting the sources instead")
            return writing, False
        finally:
            found.timings_ms["llm"] = ms(started)
        return writing, True

    async def _support(self, claim: str, found: Evidence) -> Support | None:
        """The source sentence that a claim rests on."""
        return grounding.support(claim, await self._lookup.vector(claim), found.sources, found.vectors)


def _cut_off(writing: Writing, sentence: str) -> bool:
    """Whether a sentence is the last one, and ends because the model may write no more."""
    done = writing.completion
    return done is not None and done.finish_reason == "length" and not SENTENCE_ENDED.search(sentence)


def _completed(claim: str, quote: Quote) -> str:
    """A claim that repeats a sentence and breaks off within it, with the rest of that."""
    told = plain(quote.text)
    return told if told.startswith(claim) else claim


def _stray(quote: Quote, found: Evidence, guide: list[Quote]) -> bool:
    """Whether a sentence is a step of a procedure beside the one that is to be followed."""
    followed = {step.passage for step in guide}
    return bool(followed) and quote.passage not in followed and compose.is_step(quote, found.passages)


def _best(asked: Asked, found: Evidence, guide: list[Quote]) -> list[Support]:
    """The sentences that answer best, of what was read; what to do in its order.

    Beside records that tell how something is, documents tell what its codes mean.
    """
    if found.lead and asked.plan.state:
        return compose.meanings(found.focus, found.sources)
    best = compose.extract(asked.whole, found.focus, found.sources, found.cosines, FACTS)
    if found.lead:  # records answer already: beside them only what fits
        best = [each for each in best if each.score >= LATE_OPENING]
    if found.devices:
        best = [each for each in best if not _stray(found.sources[each.quote], found, guide)]
    if asked.plan.reported:  # the records say who reported a code: beside them only what is about the code
        best = [each for each in best if compose.about(found.sources[each.quote], found.focus)]
    return compose.in_order(best, found.sources, found.passages, guide) if asked.plan.action else best


@contextmanager
def _once(at: float, act: Callable[[], None]) -> Iterator[None]:
    """Act at a time of the event loop's clock (s), unless what is done meanwhile ends before it."""
    timer = asyncio.get_running_loop().call_at(at, act)
    try:
        yield
    finally:
        timer.cancel()
