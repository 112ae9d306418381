"""Several models in a row: the next answers when one cannot, and the run is none the wiser."""

from __future__ import annotations

import asyncio

import pytest

from opspawn import Agent, tool
from opspawn.agentkit import BoundModel, FallbackModel, FunctionModel
from opspawn.contracts.model import (
    Message,
    ModelCapabilities,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    ToolCall,
    Usage,
)
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.retry import RetryPolicy
from opspawn.contracts.run_events import DeltasVoid, TextDelta
from opspawn.errors import ConfigError, ModelError
from opspawn.testing import ScriptedModel

HELLO = ModelRequest("", [Message("user", "Hello?")])


def failing(kind: str, **fields) -> ModelError:
    return ModelError(f"It failed: {kind}.", error_type=kind, **fields)


def chain(*scripts, **options) -> tuple[FallbackModel, list[ScriptedModel]]:
    models = [ScriptedModel(script) for script in scripts]
    bound = [BoundModel(model, f"m{n}", {}, f"acme:m{n}") for n, model in enumerate(models)]
    return FallbackModel(bound, **{"tries": 1, "patience_s": 0.0, **options}), models


@pytest.mark.parametrize("kind", ["transient", "rate_limited", "timeout", "denied"])
async def test_the_next_model_is_asked_when_one_cannot_answer(kind):
    model, (first, second) = chain([failing(kind)], ["Here."])

    answer = await model.complete(HELLO)

    assert (answer.text, answer.source) == ("Here.", "acme:m1")
    assert (len(first.requests), second.requests[0].model) == (1, "m1")


@pytest.mark.parametrize("kind", ["permanent", "context_overflow", "content_filter", "invalid_output"])
async def test_what_every_model_would_refuse_ends_the_call(kind):
    model, (_, second) = chain([failing(kind)], ["Never."])

    with pytest.raises(ModelError, match=rf"^It failed: {kind}\.$"):
        await model.complete(HELLO)

    assert second.requests == []


async def test_which_failures_count_is_a_setting():
    model, _ = chain([failing("context_overflow")], ["Here."], on=["context_overflow"])
    strict, _ = chain([failing("denied")], ["Never."], on=["transient"])

    assert (await model.complete(HELLO)).text == "Here."
    with pytest.raises(ModelError, match="denied"):
        await strict.complete(HELLO)


async def test_a_passing_failure_is_tried_again_before_the_next_is_asked():
    model, (first, second) = chain([failing("transient"), "Here."], ["Never."], tries=2)

    assert (await model.complete(HELLO)).text == "Here."
    assert (len(first.requests), len(second.requests)) == (2, 0)


async def test_a_model_that_refuses_the_key_is_not_asked_twice():
    model, (first, _) = chain([failing("denied")], ["Here.", "Again."], tries=3)

    await model.complete(HELLO)
    await model.complete(HELLO)

    assert len(first.requests) == 1


async def test_a_model_that_wants_to_be_left_alone_is_left_alone():
    """Longer than anybody would wait here: the next answers, now and later."""
    model, (first, second) = chain([failing("rate_limited", retry_after_s=60.0)], ["One.", "Two."], tries=2)

    await model.complete(HELLO)
    answer = await model.complete(HELLO)

    assert answer.text == "Two."
    assert (len(first.requests), len(second.requests)) == (1, 2)


async def test_when_all_failed_one_error_names_them_and_says_when_to_come_back():
    busy = [failing("rate_limited", retry_after_s=seconds) for seconds in (60.0, 20.0)]
    model, (first, second) = chain(busy[:1], busy[1:])

    for _ in range(2):
        with pytest.raises(ModelError, match=r"No model of 2 answered\. acme:m0: .* acme:m1: ") as caught:
            await model.complete(HELLO)
        assert caught.value.error_type == "rate_limited"
        assert 10 < (caught.value.retry_after_s or 0) <= 20

    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_a_failure_that_passes_makes_the_whole_worth_another_try():
    model, _ = chain([failing("transient")], [failing("denied")])

    with pytest.raises(ModelError) as caught:
        await model.complete(HELLO)

    assert caught.value.error_type == "transient"


async def test_pieces_of_a_failed_try_are_made_void():
    async def breaks(request, on_delta):
        on_delta(ModelDelta("text", "Half an"))
        raise failing("transient")

    broken = ScriptedModel([])
    broken.complete = breaks
    model = FallbackModel([BoundModel(broken, ""), BoundModel(ScriptedModel(["Here."]), "")], tries=1)
    deltas = []

    await model.complete(HELLO, deltas.append)

    assert [(delta.kind, delta.text) for delta in deltas] == [("text", "Half an"), ("restart", ""), ("text", "Here.")]


async def test_a_conversation_stays_with_the_model_that_answered_last():
    model, (first, second) = chain(["Never."], ["Here."])
    said = ModelResponse("Earlier.", source="acme:m1").message()

    answer = await model.complete(ModelRequest("", [*HELLO.messages, said, Message("user", "And?")]))

    assert answer.source == "acme:m1"
    assert (first.requests, len(second.requests)) == ([], 1)


async def test_a_call_that_is_cancelled_asks_nobody_else():
    async def waits(request):
        await asyncio.sleep(60)
        return "Never."

    second = ScriptedModel(["Never."])
    model = FallbackModel([BoundModel(FunctionModel(waits), ""), BoundModel(second, "")])
    call = asyncio.create_task(model.complete(HELLO))
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert second.requests == []


async def test_what_a_list_can_do_is_what_all_of_it_can():
    class Able(ScriptedModel):
        def __init__(self, **fields):
            super().__init__([])
            self._able = ModelCapabilities(**fields)

        def capabilities(self, model):
            return self._able

    one = Able(tools=True, images=True, reasoning=True, context_tokens=10)
    two = Able(tools=True, images=False, context_tokens=20)

    able = FallbackModel([BoundModel(one, ""), BoundModel(two, "")]).capabilities("")

    assert (able.tools, able.images, able.reasoning, able.context_tokens) == (True, False, None, 10)


class Asks:
    async def run(self, context):
        return PlannerResult((await context.think([Message("user", str(context.input))])).text)


class Twice:
    """Asks, acts, asks again."""

    async def run(self, context):
        messages = [Message("user", str(context.input))]
        first = await context.think(messages)
        results = await context.act(first.tool_calls)
        answer = await context.think([*messages, first.message(), *[result.message() for result in results]])
        return PlannerResult(answer.text)


async def test_an_agent_takes_a_list_and_sticks_to_the_one_that_works():
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    busy = ScriptedModel([failing("rate_limited", retry_after_s=90.0)])
    works = ScriptedModel([ToolCall("1", "look"), "Done."])

    result = await Agent("a", model=[busy, works], planner=Twice(), tools=[look]).run("Go.")

    assert result.output == "Done."
    assert (len(busy.requests), len(works.requests)) == (1, 2)
    assert result.usage == Usage(requests=2)


async def test_a_retry_of_the_run_makes_the_pieces_before_it_void(monkeypatch):
    """With one model as with several."""
    monkeypatch.setattr("opspawn.agentkit.thinking.MODEL_RETRY", RetryPolicy(2, 0.0, when=("transient",)))
    tries = []

    class Breaks(ScriptedModel):
        async def complete(self, request, on_delta=None):
            tries.append(1)
            if len(tries) == 1:
                on_delta(ModelDelta("text", "Half an"))
                raise failing("transient")
            return await super().complete(request, on_delta)

    told = []
    agent = Agent("a", model=Breaks(["Here."]), planner=Asks())
    await agent.run("Go.", on_event=told.append)

    deltas = [event for event in told if isinstance(event, TextDelta | DeltasVoid)]
    assert [getattr(delta, "text", None) for delta in deltas] == ["Half an", None, "Here."]


def test_an_empty_list_is_refused():
    with pytest.raises(ConfigError, match="A list of models is empty"):
        FallbackModel([])
