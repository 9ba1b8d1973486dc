"""OpenAI's words for the copilot's, as OpenAI's own client reads them."""

from __future__ import annotations

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from iotops.http import ApiError
from ray_apps.copilot.contracts import AskResponse, Citation, GuardReport, SetAside, Token, Trace, Usage
from ray_apps.copilot.http import openai_api
from ray_apps.copilot.http.openai_api import ChatRequest, Chunks

CITATION = Citation(
    marker="[1]", doc_id="e421.md", title="E421: Vibration high", uri="lake://acme/documents/e421.md",
    section="Meaning", quote="E421 means that vibration is high.", start=0, end=34, score=0.9,
)  # fmt: skip
ANSWER = AskResponse(
    answer="E421 means that\nvibration is high. [1]", citations=[CITATION], grounded=True, tools=[],
    model="m", cached=False, conversation_id="c", request_id="r1", timings_ms={},
    usage=Usage(prompt_tokens=90, completion_tokens=7, total_tokens=97),
)  # fmt: skip
LISTED = "\n\nSources:\n- [1] E421: Vibration high > Meaning (lake://acme/documents/e421.md)"


def chat(*messages: tuple[str, object], **more: object) -> ChatRequest:
    listed = [{"role": role, "content": content} for role, content in messages]
    return ChatRequest.model_validate({"messages": listed, **more})


def test_the_last_message_of_the_user_is_the_question_and_may_refer_to_earlier_ones():
    request = chat(
        ("system", "You are a pirate. machine-001"),
        ("user", "What is wrong with machine 7?"),
        ("assistant", "machine-002 is fine."),
        ("user", [{"type": "text", "text": "and its bearings?"}, {"type": "image_url", "image_url": {}}]),
        ("assistant", None),
        ("user", "how do I replace them?"),
        model="gpt-4o", temperature=0.7, tools=[],
    )  # fmt: skip
    asked, earlier = request.question()
    assert asked.question == "how do I replace them?"
    assert earlier == ["What is wrong with machine 7?", "and its bearings?"]


def test_of_a_long_conversation_so_much_is_read():
    many = chat(*[("user", f"{number}" * 3000) for number in range(8)], ("user", "and its bearings?"))
    assert many.question()[1] == [f"{number}" * 2000 for number in range(2, 8)]


def test_what_openai_allows_to_be_null_may_be():
    request = chat(("user", "What does E421 mean?"), stream=None, stream_options={"include_usage": None})
    assert not request.stream


@pytest.mark.parametrize(
    "messages",
    [[("system", "Hello")], [("user", "")], [("user", "x" * 3000)], [("user", [{"type": "image_url"}])]],
)
def test_a_message_that_is_no_question_is_refused_by_name(messages):
    with pytest.raises(ApiError, match="the last message of the user") as refused:
        chat(*messages).question()
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")


def test_an_answer_is_a_completion_with_its_sources_below_it():
    found = openai_api.completion(ANSWER, "served")
    read = ChatCompletion.model_validate(json.loads(found.model_dump_json()), strict=True)
    assert read.choices[0].message.content == ANSWER.answer + LISTED
    assert (read.model, read.choices[0].finish_reason) == ("m", "stop"), "who wrote it"
    unwritten = ANSWER.model_copy(update={"model": "none"})
    assert openai_api.completion(unwritten, "served").model == "served"
    assert read.usage
    assert read.usage.total_tokens == 97
    assert found.citations == [CITATION]


def test_what_is_not_known_lists_the_nearest_sources_or_none():
    unknown = ANSWER.model_copy(update={"grounded": False})
    assert "Nearest sources:" in openai_api.sources(unknown)
    assert openai_api.sources(unknown.model_copy(update={"citations": []})) == ""


def test_that_no_model_wrote_an_answer_and_what_it_leaves_out_is_said_below_it():
    guard = GuardReport(flagged_passages=[SetAside(uri="lake://acme/documents/x.md", reason="speaks")])
    quoted = ANSWER.model_copy(update={"extractive": True, "guard": guard})
    assert openai_api.sources(quoted) == (
        f"{LISTED}\n\nQuoted from the sources, not written by a model."
        "\n\nPassages not used, since they speak to the assistant: 1."
    )


def chunks(frames: bytes) -> list[ChatCompletionChunk]:
    found = []
    for frame in frames.decode().split("\n\n"):
        if frame:
            assert frame.startswith("data: {")
            assert "\n" not in frame
            found.append(ChatCompletionChunk.model_validate_json(frame.removeprefix("data: ")))
    return found


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_makes_the_same_text_as_the_completion(include_usage: bool):
    told = Chunks("r1", "served", include_usage)
    first, second = ANSWER.answer.split("\n")
    events = [Trace(message="looking"), CITATION, Token(text=first), Token(text=f"\n{second}"), ANSWER]
    read = chunks(b"".join(told.told(event) for event in events))
    choices = [chunk.choices[0] for chunk in read if chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert [choice.delta.model_fields_set for choice in choices] == [
        {"role", "content"}, *[{"content"}] * (len(choices) - 2), set()
    ], "what there is none of is left out"  # fmt: skip
    assert "".join(choice.delta.content or "" for choice in choices) == ANSWER.answer + LISTED
    assert [choice.finish_reason for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    usage = [chunk.usage.total_tokens for chunk in read if chunk.usage]
    assert usage == ([97] if include_usage else [])
    assert {chunk.id for chunk in read} == {"chatcmpl-r1"}
    assert (read[0].model, read[-1].model) == ("served", "m"), "who wrote it is known at the end"
    (cited,) = [chunk for chunk in read if getattr(chunk, "citations", None)]
    assert cited.citations == [CITATION.model_dump()]


def test_a_stream_ends_as_openais_do():
    assert openai_api.END == b"data: [DONE]\n\n"
    failed = Chunks("r1", "served", False).failed(RuntimeError("inside"))
    assert json.loads(failed.decode().removeprefix("data: "))["error"]["code"] == "internal_error"
