"""What the simulated tasks do: programs made from a seed, as JSON, whose results do not depend on what goes wrong.

A program is a list of actions; its result is the list of theirs. `expected` tells the result without running anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from opspawn.agentkit.function_tool import tool
from opspawn.agentkit.rates import Rate, Rates
from opspawn.contracts.run import RetryPolicy, RunContext
from opspawn.errors import StepError, StepTimeout
from opspawn.testing.simulation.flow import FLOW, INSTALLED, result_of
from opspawn.testing.simulation.outside import act, outside, stumble

HANDLER = "function/program"
_WEIGHTS = {
    "step": 10,
    "once": 3,
    "flaky": 2,
    "sleep": 3,
    "spawn": 3,
    "gather": 3,
    "caught": 1,
    "noted": 1,
    "stumble": 1,
    "wait": 2,
    "unheard": 1,
    "ask": 2,
    "take": 2,
} | ({"flow": 1} if INSTALLED else {})
#: The rate that all runs share.
RATE, RATES = "busy", Rates({"busy": Rate(requests_per_minute=60.0, burst=3)})
_DEEPEST = 3
#: For whole tasks, several of whose steps may stumble.
PATIENT = RetryPolicy(attempts=40, initial_s=1.0, max_s=4.0)


class Failed(Exception):
    """The program fails for good."""


def make_program(chance: random.Random, name: str, depth: int = 0) -> list[dict[str, Any]]:
    """A program whose steps have names that begin with `name`."""
    program = []
    for number in range(chance.randint(1, 5 - depth)):
        key = f"{name}.{number}"
        [kind] = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        if depth == _DEEPEST and kind in ("spawn", "gather"):
            kind = "step"
        program.append(_action(chance, kind, key, depth))
    if chance.random() < 0.05:
        program.append({"do": "fail", "key": f"{name}.end"})
    return program


def _action(chance: random.Random, kind: str, key: str, depth: int) -> dict[str, Any]:
    action: dict[str, Any] = {"do": kind, "key": key}
    if kind in ("step", "once", "flaky", "caught"):
        action["takes"] = [round(chance.expovariate(1 / 2.0), 3), round(chance.expovariate(1.0), 3)]
    if kind in ("flaky", "stumble"):
        action["failures"] = chance.randint(1, 2)
    if kind == "unheard":
        action["seconds"] = round(chance.uniform(0.0, 20.0), 3)
    if kind == "sleep":
        action["seconds"] = round(chance.choice([chance.uniform(0.0, 0.9), chance.uniform(1.0, 40.0)]), 3)
    if kind == "spawn":
        action["program"] = make_program(chance, key, depth + 1)
    if kind == "gather":
        branches = range(chance.randint(2, 3))
        action["branches"] = [make_program(chance, f"{key}.{branch}", depth + 1) for branch in branches]
    return action


def expected(program: list[dict[str, Any]]) -> list[Any]:
    """The result of a program. Raises: Failed."""
    return [_expected(action) for action in program]


def _expected(action: dict[str, Any]) -> Any:
    kind, key = action["do"], action["key"]
    if kind == "fail":
        raise Failed(key)
    if kind == "gather":
        return [expected(branch) for branch in action["branches"]]
    if kind == "spawn":
        try:
            return expected(action["program"])
        except Failed:
            return f"{key} failed"
    if kind == "flow":
        return result_of(key)
    return f"{key} caught" if kind == "caught" else f"{key} done"


def once_effects(program: list[dict[str, Any]]) -> Iterator[str]:
    """The names of the steps of a program that may happen only once."""
    for action in program:
        if action["do"] == "once":
            yield action["key"]
        for part in [action.get("program", []), *action.get("branches", [])]:
            yield from once_effects(part)


async def run_program(context: RunContext) -> list[Any]:
    """The handler: performs the program that is its input."""
    return await _perform(context, context.input)


async def _perform(context: RunContext, program: list[dict[str, Any]]) -> list[Any]:
    return [await _ACTIONS[action["do"]](context, action) for action in program]


async def _step(context: RunContext, action: dict[str, Any]) -> Any:
    return await context.step(action["key"], act, action["key"], *action["takes"])


async def _once(context: RunContext, action: dict[str, Any]) -> Any:
    return await context.step(action["key"], act, action["key"], *action["takes"], effect="once")


async def _flaky(context: RunContext, action: dict[str, Any]) -> Any:
    policy = RetryPolicy(attempts=action["failures"] + 1, initial_s=2.0)
    arguments = {"key": action["key"], "failures": action["failures"]}
    return await context.call(_stumbling, arguments, key=action["key"], retry=policy)


async def _sleep(context: RunContext, action: dict[str, Any]) -> Any:
    await context.sleep(action["seconds"])
    return f"{action['key']} done"


async def _spawn(context: RunContext, action: dict[str, Any]) -> Any:
    try:
        return await context.spawn(HANDLER, action["program"], retry=PATIENT)
    except StepError:
        return f"{action['key']} failed"


async def _gather(context: RunContext, action: dict[str, Any]) -> Any:
    return await context.gather(*(_perform(context, branch) for branch in action["branches"]))


async def _caught(context: RunContext, action: dict[str, Any]) -> Any:
    try:
        await context.step(action["key"], _break, action["key"])
    except StepError:
        return f"{action['key']} caught"


async def _noted(context: RunContext, action: dict[str, Any]) -> Any:
    await context.now()
    await context.random()
    await context.emit("noted", {"note": action["key"]})
    return f"{action['key']} done"


async def _wait(context: RunContext, action: dict[str, Any]) -> Any:
    """Somebody sends the signal as often as they like: it is one."""
    outside.get().wanted[action["key"]] = str(context.task)
    return await context.wait(action["key"])


async def _unheard(context: RunContext, action: dict[str, Any]) -> Any:
    try:
        await context.wait(action["key"], timeout_s=action["seconds"])
    except StepTimeout:
        return f"{action['key']} done"


async def _ask(context: RunContext, action: dict[str, Any]) -> Any:
    return await context.ask(action["key"])


async def _flow(context: RunContext, action: dict[str, Any]) -> Any:
    return await context.spawn(FLOW, {"key": action["key"]}, retry=PATIENT)


async def _take(context: RunContext, action: dict[str, Any]) -> Any:
    await context.take(RATE)
    return f"{action['key']} done"


async def _stumble(context: RunContext, action: dict[str, Any]) -> Any:
    """Fails the whole attempt; the task's own policy tries again."""
    return await context.step(action["key"], stumble, action["key"], action["failures"])


async def _fail(context: RunContext, action: dict[str, Any]) -> Any:
    await context.step(action["key"], _break, action["key"])


async def _break(key: str) -> None:
    raise ValueError(f"{key} is broken")


@tool(effect="idempotent", name="stumbling")
async def _stumbling(key: str, failures: int) -> str:
    """Work after some failures."""
    return await stumble(key, failures)


_ACTIONS = {
    "step": _step,
    "once": _once,
    "flaky": _flaky,
    "sleep": _sleep,
    "spawn": _spawn,
    "gather": _gather,
    "caught": _caught,
    "noted": _noted,
    "stumble": _stumble,
    "wait": _wait,
    "unheard": _unheard,
    "ask": _ask,
    "take": _take,
    "flow": _flow,
    "fail": _fail,
}
