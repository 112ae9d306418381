"""Running a workflow over a run context: order, data, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.tool import ToolContext
from opspawn.errors import InDoubt, InvalidInput, NotFound, StepFailed, ToolError
from opspawn.ops.workflows import Workflow, load_workflow, run_workflow

T = TypeVar("T")
Function = Callable[[dict[str, Any]], Awaitable[Any]]


class FunctionTool:
    """A tool around one async function of its arguments."""

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self.function = function
        self.description = ""
        self.parameters: dict[str, Any] = {"type": "object"}
        self.effect = "read"
        self.timeout_s = None

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        return await self.function(arguments)


class MemoryRun:
    """What workflows use of a run context, in memory. Keeps every act, and how many branches wait for others."""

    def __init__(self, input: Any = None) -> None:
        self.input = input
        self.task = "t1"
        self.acts: list[tuple[str, Any, str | None, float | None, RetryPolicy | None]] = []
        self.waiting = 0

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch) for branch in branches]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def join(self, awaitable: Awaitable[T]) -> T:
        self.waiting += 1
        try:
            return await awaitable
        finally:
            self.waiting -= 1

    async def call(
        self,
        tool: Any,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Any:
        self.acts.append((f"tool/{tool.name}", arguments, key, timeout_s, retry))
        return await tool.call(arguments, ToolContext(idempotency_key="k", agent="w"))

    async def spawn(
        self,
        handler: str,
        input: Any = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
        budget: Any = None,
    ) -> Any:
        self.acts.append((handler, input, key, timeout_s, retry))
        return {"said": input}


def flow(steps: dict[str, Any], **more: Any) -> Workflow:
    return load_workflow({"opspawn": "1", "name": "w", "steps": steps, **more})


async def echo(arguments: dict[str, Any]) -> Any:
    return arguments


ECHO = {"echo": FunctionTool("echo", echo)}


async def run(workflow: Workflow, ctx: Any, tools: Any = ECHO) -> Any:
    return await run_workflow(workflow, ctx, tools)


async def test_without_an_output_the_result_is_every_steps_output_in_the_order_of_the_definition() -> None:
    workflow = flow({"b": {"uses": "tool/echo", "needs": "a"}, "a": {"uses": "tool/echo", "with": {"x": 1}}})

    result = await run(workflow, MemoryRun())

    assert list(result.items()) == [("b", {}), ("a", {"x": 1})]


async def test_an_output_is_rendered_and_types_are_kept() -> None:
    workflow = flow(
        {
            "a": {
                "uses": "tool/echo",
                "with": {"n": "${{ inputs.n }}", "list": ["${{ inputs.n + 1 }}", "n=${{ inputs.n }}"]},
            }
        },
        inputs={"n": {"type": "integer"}},
        output={"whole": "${{ steps.a.output }}", "run": "${{ run.id }} of ${{ run.workflow }}"},
    )

    result = await run(workflow, MemoryRun({"n": 3}))

    assert result == {"whole": {"n": 3, "list": [4, "n=3"]}, "run": "t1 of w"}


async def test_an_output_may_be_null_on_purpose() -> None:
    assert await run(flow({"a": {"uses": "tool/echo"}}, output=None), MemoryRun()) is None


async def test_a_diamond_runs_its_middle_at_once_and_its_end_once() -> None:
    both = asyncio.Barrier(2)
    order: list[str] = []

    async def meet(arguments: dict[str, Any]) -> str:
        await both.wait()
        return await note(arguments)

    async def note(arguments: dict[str, Any]) -> str:
        order.append(arguments["id"])
        return arguments["id"]

    tools = {"meet": FunctionTool("meet", meet), "note": FunctionTool("note", note)}
    workflow = flow(
        {
            "end": {"uses": "tool/note", "needs": ["left", "right"], "with": {"id": "${{ steps.left.output }}+end"}},
            "left": {"uses": "tool/meet", "needs": ["start"], "with": {"id": "left"}},
            "right": {"uses": "tool/meet", "needs": ["start"], "with": {"id": "right"}},
            "start": {"uses": "tool/note", "with": {"id": "start"}},
        }
    )
    ctx = MemoryRun()

    result = await run(workflow, ctx, tools)

    assert order[0] == "start"
    assert sorted(order[1:3]) == ["left", "right"]
    assert order[3:] == ["left+end"]
    assert result["end"] == "left+end"
    assert ctx.waiting == 0


async def test_a_branch_that_waits_for_its_needs_waits_in_the_context() -> None:
    ctx = MemoryRun()
    seen: list[int] = []

    async def look(_: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        seen.append(ctx.waiting)

    workflow = flow({"a": {"uses": "tool/look"}, "b": {"uses": "tool/look", "needs": ["a"]}})
    await run(workflow, ctx, {"look": FunctionTool("look", look)})

    assert seen == [1, 0]


async def test_key_timeout_and_retry_are_passed_to_tools_and_agents() -> None:
    retry = {"attempts": 4, "backoff": "constant", "initial": "250ms", "max": "1s", "when": ["timeout"]}
    workflow = flow(
        {
            "t": {"uses": "tool/echo", "timeout": "5s", "retry": retry},
            "a": {"uses": "agent/helper", "needs": "t", "timeout": "1m", "retry": retry},
            "plain": {"uses": "agent/helper", "needs": "a"},
        }
    )
    ctx = MemoryRun()

    await run(workflow, ctx)

    policy = RetryPolicy(attempts=4, initial_s=0.25, max_s=1.0, factor=1.0, jitter=False, when=("timeout",))
    assert ctx.acts == [
        ("tool/echo", {}, "t", 5.0, policy),
        ("agent/helper", None, "a", 60.0, policy),
        ("agent/helper", None, "plain", None, None),
    ]


async def test_an_agent_gets_its_input_or_the_whole_mapping() -> None:
    workflow = flow(
        {
            "one": {"uses": "agent/x", "with": {"input": "Read ${{ run.workflow }}"}},
            "two": {"uses": "agent/x", "needs": "one", "with": {"input": 1, "more": "${{ steps.one.output.said }}"}},
        }
    )
    ctx = MemoryRun()

    await run(workflow, ctx)

    assert [act[1] for act in ctx.acts] == ["Read w", {"input": 1, "more": "Read w"}]


async def test_a_failed_step_fails_the_workflow_by_name_and_stops_the_others() -> None:
    stopped = asyncio.Event()

    async def fail(_: dict[str, Any]) -> None:
        raise ToolError("the disk is full")

    async def last(_: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    tools = {"fail": FunctionTool("fail", fail), "last": FunctionTool("last", last), **ECHO}
    workflow = flow(
        {"long": {"uses": "tool/last"}, "bad": {"uses": "tool/fail"}, "after": {"uses": "tool/echo", "needs": "bad"}}
    )
    ctx = MemoryRun()

    with pytest.raises(StepFailed, match=r"Step 'bad' failed: the disk is full") as caught:
        await run(workflow, ctx, tools)

    assert (caught.value.error_type, caught.value.key) == ("tool_error", "bad")
    assert stopped.is_set()
    assert "after" not in [act[2] for act in ctx.acts]


async def test_a_missing_value_fails_the_step_that_asked_for_it() -> None:
    workflow = flow(
        {
            "a": {"uses": "tool/echo"},
            "b": {"uses": "tool/echo", "needs": "a", "with": {"x": "${{ steps.a.output.gone }}"}},
        }
    )
    with pytest.raises(StepFailed, match=r"Step 'b' failed: There is no 'steps.a.output.gone'") as caught:
        await run(workflow, MemoryRun())
    assert caught.value.error_type == "invalid_input"


async def test_an_output_that_cannot_be_made_fails_the_workflow() -> None:
    workflow = flow({"a": {"uses": "tool/echo"}}, output="${{ steps.a.output.gone }}")
    with pytest.raises(StepFailed, match="The output of the workflow cannot be made"):
        await run(workflow, MemoryRun())


async def test_a_halt_is_not_a_failure_and_passes_unchanged() -> None:
    async def doubt(_: dict[str, Any]) -> None:
        raise InDoubt("a", "pay", {})

    with pytest.raises(InDoubt):
        await run(flow({"a": {"uses": "tool/pay"}}), MemoryRun(), {"pay": FunctionTool("pay", doubt)})


async def test_nothing_starts_when_the_input_does_not_fit_or_a_tool_is_missing() -> None:
    ctx = MemoryRun({"x": 1})
    with pytest.raises(InvalidInput, match="is not an input of this workflow"):
        await run(flow({"a": {"uses": "tool/echo"}}), ctx)
    with pytest.raises(NotFound, match="There is no tool 'gone'"):
        await run(flow({"a": {"uses": "tool/echo"}, "b": {"uses": "tool/gone"}}), MemoryRun())
    assert ctx.acts == []


async def test_a_workflow_may_run_many_times_at_once() -> None:
    workflow = flow(
        {"a": {"uses": "tool/echo", "with": {"n": "${{ inputs.n }}"}}},
        inputs={"n": {"type": "integer"}},
        output="${{ steps.a.output.n }}",
    )
    assert await asyncio.gather(*(run(workflow, MemoryRun({"n": n})) for n in range(20))) == list(range(20))
