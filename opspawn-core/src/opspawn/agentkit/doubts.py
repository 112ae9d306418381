"""A `once` effect began and its end is not known: asking the tool's own check, and putting down what is decided."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from opspawn.agentkit.codec import result_to_json
from opspawn.agentkit.failures import FAULTS, named
from opspawn.agentkit.log import StepLog
from opspawn.agentkit.plain import as_text, plain_json
from opspawn.agentkit.recorded import Asked, Recorded
from opspawn.agentkit.threads import STEPS
from opspawn.contracts.tool import Check, DidNotHappen, GoOn, Happened, ToolContext, ToolResult
from opspawn.errors import Halt, InDoubt

#: How long a check may take where its tool has no time limit of its own, in seconds.
CHECK_S = 60.0

#: A check that only wants the recorded arguments.
Ask = Callable[[Any], Awaitable[Happened | DidNotHappen | GoOn | None]]


def asking(check: Check, context: ToolContext, timeout_s: float | None) -> Ask:
    """A check, bound to the call that it is asked about."""

    async def ask(arguments: Any) -> Happened | DidNotHappen | GoOn | None:
        async with asyncio.timeout(timeout_s or CHECK_S):
            if inspect.iscoroutinefunction(check):
                said = await check(arguments, context)
            else:
                said = await STEPS.run(check, arguments, context)
        return said() if said is DidNotHappen or said is GoOn else said

    return ask


async def settle(log: StepLog, asked: Asked, doubt: InDoubt, ask: Ask) -> Recorded | None:
    """What the check makes of a doubt: the end of the step, or None if it may begin.

    Raises: InDoubt: the check cannot tell, or fails; its `note` says so.
    """
    try:
        said = await ask(doubt.arguments)
        if isinstance(said, Happened):
            return await log.resolve(asked, "happened", as_recorded(asked.kind, asked.name, plain_json(said.result)))
    except Halt:
        raise
    except FAULTS as error:
        doubt.note = f"Its check failed: {named(error)}"
        raise doubt from error
    if isinstance(said, DidNotHappen):
        return await log.resolve(asked, "not-happened", None)
    if isinstance(said, GoOn):
        return await log.resolve(asked, "again", None)
    doubt.note = "Its check cannot tell." if said is None else f"Its check returned {type(said).__name__}."
    raise doubt


def as_recorded(kind: str | None, name: str, result: Any) -> Any:
    """A result in the form in which its step would have recorded it: a call of an agent records a `ToolResult`."""
    if kind != "act":
        return result
    return result_to_json(ToolResult("", name, as_text(result), result))
