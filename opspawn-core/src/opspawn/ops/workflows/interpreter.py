"""Runs a workflow: plain async code over the run context, and therefore durable without a line about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opspawn.contracts.run import RunContext
from opspawn.contracts.tool import Tool
from opspawn.errors import InvalidInput, NotFound, StepError, StepFailed
from opspawn.ops.workflows.expressions import render
from opspawn.ops.workflows.workflow import Step, Workflow

#: Finds a tool that comes and goes, by the name of its source and of its part: "SOURCE:NAME".
Find = Callable[[str], Awaitable[Tool]]


async def run_workflow(workflow: Workflow, ctx: RunContext, tools: Mapping[str, Tool], find: Find | None = None) -> Any:
    """Return the workflow's `output`, or the outputs of all steps by id if it declares none.

    Steps without needs start at once, any other when its needs are done; each is a branch of the run whose act has the
    step's id as its key. The first failed step fails the workflow, and those that still run are cancelled.

    Args:
        ctx: `ctx.input` is what the run was started with.
        tools: at least those of `workflow.tools`, by name, but for those that come and go: `find` is asked for these,
            when their step begins.

    Raises:
        InvalidInput: the input does not fit; nothing was started.
        NotFound: a tool is not among `tools`; nothing was started.
        StepFailed: names the step, or the output; keeps the class of the failure that lies under it.
    """
    inputs = workflow.bind_inputs(ctx.input)
    for name in workflow.tools:
        if name not in tools and (find is None or ":" not in name):
            raise NotFound("tool", name, known=tuple(tools))
    run = _Run(workflow, ctx, tools, inputs, find)
    await ctx.gather(*(run.branch(step) for step in workflow.steps))
    outputs = {step.id: run.outputs[step.id]["output"] for step in workflow.steps}
    if not workflow.has_output:
        return outputs
    try:
        return render(workflow.output, run.roots)
    except InvalidInput as error:
        raise StepFailed(f"The output of the workflow cannot be made: {error}", error_type=error.error_type) from error


class _Run:
    """One run's outputs, and the events with which its branches wait for each other."""

    def __init__(
        self,
        workflow: Workflow,
        ctx: RunContext,
        tools: Mapping[str, Tool],
        inputs: dict[str, Any],
        find: Find | None,
    ) -> None:
        self.ctx = ctx
        self.find = find
        self.tools = tools
        self.outputs: dict[str, dict[str, Any]] = {}
        self.roots = {"inputs": inputs, "steps": self.outputs, "run": {"id": ctx.task, "workflow": workflow.name}}
        self._done = {step.id: asyncio.Event() for step in workflow.steps}

    async def branch(self, step: Step) -> None:
        """Wait for the step's needs, act, and let those go on that need it."""
        for need in step.needs:
            if not self._done[need].is_set():
                await self.ctx.join(self._done[need].wait())
        try:
            output = await self._act(step)
        except (StepError, InvalidInput, NotFound) as error:
            failure = StepFailed(f"Step {step.id!r} failed: {error}", error_type=error.error_type)
            failure.key = getattr(error, "key", None) or step.id
            raise failure from error
        self.outputs[step.id] = {"output": output}
        self._done[step.id].set()

    async def _act(self, step: Step) -> Any:
        given = render(step.arguments, self.roots)
        if step.kind == "tool":
            tool = self.tools.get(step.target)
            if tool is None:
                assert self.find is not None  # else the run would not have begun
                tool = await self.find(step.target)
            return await self.ctx.call(tool, given or {}, key=step.id, timeout_s=step.timeout_s, retry=step.retry)
        if isinstance(given, dict) and set(given) == {"input"}:
            given = given["input"]
        return await self.ctx.spawn(
            f"agent/{step.target}",
            given,
            key=step.id,
            timeout_s=step.timeout_s,
            retry=step.retry,
            budget=step.budget,
        )
