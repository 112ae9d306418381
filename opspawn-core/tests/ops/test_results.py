"""Results that cannot be kept as they are: not JSON, or too large. Each fails its step or task once, in words."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn.agentkit.function_tool import tool
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import MAX_BATCH_BYTES
from opspawn.errors import InvalidInput, StepFailed, ToolError
from opspawn.ops.sizes import refuse_oversize
from opspawn.ops.transitions import succeed
from opspawn.testing.store_promises import a_task

NAN = float("nan")
TWICE = RetryPolicy(attempts=2, initial_s=0.01, when=("invalid_output",))


@pytest.mark.parametrize(("value", "words"), [({"a": [NAN]}, "at a[0] it has NaN"), ({1: 2}, "it has the key 1")])
async def test_a_result_that_is_not_json_is_invalid_output_of_the_task(house: Any, value: Any, words: str) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return value

    ended = await house.run("work")

    assert (ended.state, ended.result, ended.error["type"]) == ("failed", None, "invalid_output")
    assert f"The result of function/work cannot be expressed in JSON: {words}" in ended.error["message"]


async def test_a_step_and_a_tool_that_return_no_json_fail_as_invalid_output(house: Any) -> None:
    async def odd() -> Any:
        return {"a": NAN}

    @tool(effect="read")
    async def rate() -> Any:
        return {7: "seven"}

    @house.function
    async def work(ctx: Any) -> Any:
        told = []
        for act in (ctx.step("odd", odd), ctx.call(rate, {})):
            try:
                await act
            except (StepFailed, ToolError) as error:
                told.append([type(error).__name__, error.error_type, error.key, str(error)])
        return told

    [step, called] = (await house.run("work")).result

    assert step[:3] == ["StepFailed", "invalid_output", "odd"]
    assert "The result of 'odd' cannot be expressed in JSON: at a it has NaN" in step[3]
    assert called[:3] == ["ToolError", "invalid_output", "rate"]
    assert "The tool 'rate' returned dict" in called[3]
    assert "the key 7" in called[3]


@pytest.mark.parametrize("option", ["emit", "spawn", "ask"])
async def test_what_a_run_gives_to_others_is_refused_too(house: Any, option: str) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        acts = {
            "emit": lambda: ctx.emit("x", {"a": NAN}),
            "spawn": lambda: ctx.spawn("function/work", {1: 2}),
            "ask": lambda: ctx.ask("Which?", choices=[NAN]),
        }
        try:
            await acts[option]()
        except InvalidInput as error:
            return str(error)

    told = (await house.run("work")).result

    assert "NaN" in told or "the key 1" in told


async def test_an_input_whose_keys_are_no_texts_is_refused_with_its_place(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any: ...

    with pytest.raises(InvalidInput, match="The input of 'function/work' is not JSON: at a it has the key 1"):
        await house.submit("work", {"a": {1: 2}})


async def test_a_step_too_large_to_keep_costs_each_attempt_one_try(house: Any, count: Any) -> None:
    """The next attempt runs the step again, instead of reading its failure from the journal."""

    async def big() -> str:
        count("big")
        return "x" * (MAX_BATCH_BYTES + 1)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("big", big)

    ended = await house.run("work", retry=TWICE)

    assert (ended.state, ended.attempt, count["big"]) == ("failed", 2, 2)
    assert (ended.error["type"], ended.error["key"]) == ("invalid_output", "big")
    assert "The result of 'big' is too large" in ended.error["message"]
    [again] = await house.events(ended, "task.retry")
    assert again.data["key"] == "big"


async def test_a_step_whose_input_was_refused_is_tried_again_by_the_next_attempt(house: Any, count: Any) -> None:
    async def moody() -> str:
        if count("moody") == 1:
            raise InvalidInput("Not today.")
        return "fine"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("moody", moody)

    ended = await house.run("work", retry=RetryPolicy(attempts=2, initial_s=0.01, when=("invalid_input",)))

    assert (ended.state, ended.result, ended.attempt) == ("succeeded", "fine", 1)


async def test_a_result_too_large_is_invalid_output_and_may_be_tried_again(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return "x" * (MAX_BATCH_BYTES if count("work") == 1 else 1)

    ended = await house.run("work", retry=TWICE)

    assert (ended.state, ended.result, ended.attempt) == ("succeeded", "x", 1)
    [again] = await house.events(ended, "task.retry")
    assert again.data["error"]["type"] == "invalid_output"
    assert f"it has {MAX_BATCH_BYTES + 2} bytes" in again.data["error"]["message"]


async def test_a_childs_result_that_is_too_large_says_how_large_it_may_be(house: Any) -> None:
    @house.function
    async def child(ctx: Any) -> Any:
        return "x" * ctx.input

    @house.function
    async def work(ctx: Any) -> Any:
        return len(await ctx.spawn("function/child", ctx.input))

    most = (MAX_BATCH_BYTES - 16 * 1024 - 7) // 2
    failed = await house.run("work", MAX_BATCH_BYTES // 2)
    passed = await house.run("work", most - 2)

    assert f"{most} are the most beside an input of 7 bytes, and the result of a child counts twice" in str(
        failed.error
    )
    assert (passed.state, passed.result) == ("succeeded", most - 2)


def test_sizes_are_bytes_and_equal_values_count_once() -> None:
    """As a store counts; or a task with a large text of another alphabet would be tried for ever."""
    third = MAX_BATCH_BYTES // 3

    refuse_oversize(succeed(a_task(input="x" * third * 2), "x" * third * 2))
    with pytest.raises(InvalidInput, match="too much to be kept at once"):
        refuse_oversize(succeed(a_task(), "\N{SNOWMAN}" * (third + 1)))
