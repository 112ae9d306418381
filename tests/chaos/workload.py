"""The app of the chaos runs: functions whose effects leave a trace outside, where no store can mend it.

Each effect writes a line when it begins and one when it is done, in one system call, into `effects.jsonl` of the
current folder. Some fail by chance. Variables decide what else a process does, so that the harness can have workers of
different sorts: `CHAOS_DIE` is the chance that it kills itself when an effect is done and its result is not written
yet, `CHAOS_OFF_S` sets its clock wrong, `CHAOS_SLOW_S` is how much longer each effect takes, `CHAOS_CODE` is the
version of the code: "1" lacks what is new, "2" what is old, and "all" has both.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from opspawn import App, ToolContext, tool
from opspawn.contracts.clock import SystemClock
from opspawn.contracts.limit import Limit
from opspawn.contracts.retry import RetryPolicy
from opspawn.contracts.run import RunContext
from opspawn.errors import ToolError

EFFECTS = "effects.jsonl"
FAILS = 0.05
#: How many tasks may hold the key "crm" at once.
CRM = 5
_CODE = os.environ.get("CHAOS_CODE", "all")
_STAMP = "2" if _CODE == "2" else "1"
_DIE = float(os.environ.get("CHAOS_DIE", "0"))
_OFF_S = float(os.environ.get("CHAOS_OFF_S", "0"))
_SLOW_S = float(os.environ.get("CHAOS_SLOW_S", "0"))
#: A step that fails by chance has so many tries that it does not fail for good.
_STEP = RetryPolicy(attempts=12, initial_s=0.02, max_s=0.3)
_chance = random.Random()

if _OFF_S:
    SystemClock.time = staticmethod(lambda: time.time() + _OFF_S)


class Outside:
    """The world: a file that every process appends to, and that is kept whatever happens to our disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EFFECTS
        self._file: int | None = None

    async def note(self, what: str, task: str, step: str, key: str) -> None:
        """Write one line."""
        line = {"at": time.time(), "what": what, "task": task, "step": step, "key": key, "pid": os.getpid()}
        while True:
            try:
                if self._file is None:
                    self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                os.write(self._file, json.dumps(line).encode() + b"\n")
                return
            except OSError:  # the limit that stands for a full disk holds for this file, too
                await asyncio.sleep(0.05)


_outside = Outside(Path.cwd())


async def act(task: str, step: str, key: str, takes_s: float, fails: float = FAILS) -> str:
    """An effect."""
    await _outside.note("begin", task, step, key)
    await asyncio.sleep(takes_s + _SLOW_S)
    if _chance.random() < fails:
        raise ToolError(f"{step} did not work this time.", error_type="transient")
    await _outside.note("done", task, step, key)
    if _chance.random() < _DIE:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{step} done"


@tool(effect="idempotent")
async def send(step: str, takes_s: float, fails: float, context: ToolContext) -> str:
    """An effect that may be repeated under its key."""
    return await act(context.task or "", step, context.idempotency_key, takes_s, fails)


@tool(effect="once")
async def pay(step: str, takes_s: float, context: ToolContext) -> str:
    """An effect that must not be repeated."""
    return await act(context.task or "", step, context.idempotency_key, takes_s, 0.0)


async def _send(ctx: RunContext, step: str, retry: RetryPolicy | None = _STEP, fails: float = FAILS) -> Any:
    return await ctx.call(send, {"step": step, "takes_s": 0.004, "fails": fails}, key=step, retry=retry)


async def _read(ctx: RunContext, step: str) -> Any:
    return await ctx.step(step, act, ctx.task, step, f"read {step}", 0.002, effect="read", key=step, retry=_STEP)


async def steps(ctx: RunContext) -> Any:
    """`n` steps, reads and effects in turn."""
    return [await (_send if n % 2 else _read)(ctx, f"s{n}") for n in range(ctx.input["n"])]


async def once(ctx: RunContext) -> Any:
    """Two effects that must not be repeated, and one between them that may."""
    first = await ctx.call(pay, {"step": "pay", "takes_s": 0.01}, key="pay")
    return [first, await _send(ctx, "tell"), await ctx.call(pay, {"step": "post", "takes_s": 0.01}, key="post")]


async def tree(ctx: RunContext) -> Any:
    """Children, at once, and a step beside them and behind them."""
    children = ctx.gather(*(ctx.spawn("function/steps", {"n": n}) for n in ctx.input["children"]))
    made, beside = await ctx.gather(children, _read(ctx, "beside"))
    return [made, beside, await _send(ctx, "after")]


async def deep(ctx: RunContext) -> Any:
    """A chain of children."""
    depth = ctx.input["depth"]
    return 0 if depth == 0 else 1 + await ctx.spawn("function/deep", {"depth": depth - 1})


async def wide(ctx: RunContext) -> Any:
    """Many children that do nothing."""
    return len(await ctx.gather(*(ctx.spawn("function/deep", {"depth": 0}) for _ in range(ctx.input["children"]))))


async def large(ctx: RunContext) -> Any:
    """A result, an event and an input of many bytes."""
    size = ctx.input["bytes"]
    text = await ctx.step("write", _text, size)
    return [len(ctx.input["text"]), len(text), await ctx.step("again", _text, size)]


async def _text(size: int) -> str:
    return "x" * size


async def sleepy(ctx: RunContext) -> Any:
    """Time and chance: what is drawn once is the same in every life."""
    drawn, began = await ctx.random(), await ctx.now()
    await ctx.sleep(ctx.input["seconds"])
    await ctx.emit("slept", {"drawn": drawn, "began": began.isoformat()})
    return await _send(ctx, f"after {drawn:.12f}")


async def asking(ctx: RunContext) -> Any:
    """A question to a human."""
    return [await _read(ctx, "before"), await ctx.ask("May I?", choices=["yes"]), await _send(ctx, "after")]


async def listening(ctx: RunContext) -> Any:
    """Two messages, in order."""
    return [await ctx.wait("go"), await _send(ctx, "between"), await ctx.wait("go")]


async def limited(ctx: RunContext) -> Any:
    """One of a few at a time."""
    return await _send(ctx, "crm")


async def stumbling(ctx: RunContext) -> Any:
    """Fails whole attempts by chance; the task is tried again."""
    return [await _send(ctx, "safe"), await _send(ctx, "unsafe", None, 0.3)]


async def failing(ctx: RunContext) -> Any:
    """Fails whatever is tried."""
    return [await _send(ctx, "safe"), await _send(ctx, "broken", None, 1.0)]


async def blocking(ctx: RunContext) -> Any:
    """Stops the event loop of its worker, with everything else that runs there."""
    return await ctx.step("block", _block, ctx.task, ctx.input["seconds"])


async def _block(task: str, seconds: float) -> str:
    await _outside.note("begin", task, "block", "read block")
    time.sleep(seconds)  # noqa: ASYNC251 that is the matter
    await _outside.note("done", task, "block", "read block")
    return "block done"


async def poison(ctx: RunContext) -> Any:
    """Kills the process that runs it."""
    await _outside.note("begin", ctx.task or "", "poison", "read poison")
    await asyncio.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


async def changing(ctx: RunContext) -> Any:
    """What it asks for is another thing in each version of the code."""
    first = await ctx.step("first", _stamp, _STAMP)
    await ctx.sleep(ctx.input["seconds"])
    return [first, await ctx.step("second", _stamp, _STAMP)]


async def _stamp(code: str) -> str:
    return code


async def newer(ctx: RunContext) -> Any:
    """What version 1 does not have."""
    return await _send(ctx, "new")


async def older(ctx: RunContext) -> Any:
    """What version 2 does not have any more."""
    return await _send(ctx, "old")


@tool(effect="idempotent")
async def modern(context: ToolContext) -> str:
    """A tool that version 1 does not have: it knows the handler of calls, and lacks what they call."""
    return await act(context.task or "", "call", context.idempotency_key, 0.004, 0.0)


def make_app(folder: Path, code: str = "all") -> App:
    """The app, with the workflow of a folder."""
    functions = [steps, once, tree, deep, wide, large, sleepy, asking, listening]
    functions += [limited, stumbling, failing, blocking, poison, changing]
    functions += [newer] if code != "1" else []
    functions += [older] if code != "2" else []
    return App(
        functions={function.__name__: function for function in functions},
        tools=[send, pay, *([modern] if code != "1" else [])],
        workflows=[folder / "flow.yaml"],
        limits={"function/limited": [Limit("crm", CRM)]},
    )


app = make_app(Path.cwd(), _CODE)
