"""The sandbox "process": each call in a fresh process behind walls.

Four processes take part. The *worker* (here) keeps one *template* per set of variables, which imports the tools'
modules once. For each call the template copies itself to a *guard*, which copies itself to the *tool*. The worker talks
to the guard alone, over a connection of its own; to end a call it hangs up, which works as well when the worker dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from loguru import logger

from opspawn import details
from opspawn.agentkit.failures import error_from_json
from opspawn.agentkit.sandbox import wire
from opspawn.agentkit.sandbox.ends import died, words_printed
from opspawn.agentkit.sandbox.naming import Where, check_name, locate
from opspawn.agentkit.sandbox.plans import plan_of
from opspawn.agentkit.sandbox.promises import WALLS, Held, in_one_line
from opspawn.agentkit.sandbox.templates import Template
from opspawn.contracts.sandbox import SandboxCall
from opspawn.errors import InvalidInput, ToolError

#: How long the guard may take to end a call that was given up, in seconds.
_HANG_UP_S = 1.5
#: How many templates in a row may end before a call has begun.
_TEMPLATES = 4


class ProcessRunner:
    """See `opspawn.contracts.sandbox.SandboxRunner`. `walls` leaves some out, to stand for a lesser kernel in tests."""

    def __init__(self, walls: Sequence[str] = WALLS) -> None:
        self._walls = tuple(walls)
        self._templates: dict[tuple[str, ...], Template] = {}
        self._told_gaps = False
        #: Which walls stood around the last call.
        self.held: Held | None = None

    def check(self, tool: str, function: Callable[..., Any]) -> None:
        """Raises: ConfigError: another process could not import the function."""
        check_name(tool, function)

    async def run(self, call: SandboxCall) -> Any:
        where = locate(call.tool, call.function)
        request = {
            "plan": plan_of(call.sandbox, self._walls).to_json(),
            "arguments": call.arguments,
            "context": _context(call),
        }
        env = tuple(sorted(set(call.sandbox.env)))
        template = self._templates.setdefault(env, Template(env))
        for _ in range(_TEMPLATES):
            connection = await template.connect(where, call.tool)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            try:
                if (greeting := await _greeting(reader)) == wire.GONE:  # a template that ended with calls in line
                    continue
                return self._value(call, where, *await _asked(reader, writer, request, greeting))
            except asyncio.CancelledError:
                await _hang_up(reader, writer)
                raise
            except (asyncio.IncompleteReadError, OSError) as error:
                words = f"The process of the tool {call.tool!r} is gone, and with it what became of the call."
                raise ToolError(words, error_type="transient") from error
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        raise ToolError(
            f"The tool {call.tool!r} was not run: its template ended {_TEMPLATES} times.", error_type="denied"
        )

    async def aclose(self) -> None:
        while self._templates:
            _, template = self._templates.popitem()
            await template.aclose()

    def _value(self, call: SandboxCall, where: Where, end: dict[str, Any], answer: bytes) -> Any:
        if end["why"] == "import":
            raise _refused(
                f"The module {where.module!r} of the tool {call.tool!r} cannot be imported in its sandbox:"
                f" {end['words']}.",
                "Its environment is clean: read variables and settings within functions, not at the top.",
            )
        if end["why"] == "setup":
            raise _refused(f"The sandbox of the tool {call.tool!r} cannot be built: {end['words']}.")
        self._log(call.tool, end)
        try:
            told = json.loads(answer) if answer and end["why"] is None else None
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or not {"value", "error", "setup", "gaps"} & told.keys():
            raise died(call, end, answered=bool(answer))
        if isinstance(told.get("held"), dict):
            self.held = Held(**{**told["held"], "namespaces": tuple(told["held"]["namespaces"])})
        if "setup" in told:
            raise _refused(f"The sandbox of the tool {call.tool!r} cannot be built: {told['setup']}.")
        if told.get("gaps"):
            self._tell_gaps(call, told["gaps"], begun="value" in told or "error" in told)
        if "error" in told:
            traceback = told.get("traceback", "")
            details.debug(
                "The tool {} failed in its sandbox: {}", call.tool, traceback, tool=call.tool, error_type="tool_error"
            )
            raise error_from_json(dict(told["error"]))
        return told.get("value")

    def _tell_gaps(self, call: SandboxCall, gaps: list[str], *, begun: bool) -> None:
        if not begun:
            raise _refused(
                f"The tool {call.tool!r} was not run, since its sandbox is required, and on this machine"
                f" {in_one_line(gaps)}.",
                "See 'opspawn doctor', or accept it: Sandbox(policy=\"best_effort\").",
            )
        if not self._told_gaps:
            self._told_gaps = True
            logger.bind(tool=call.tool).warning("Sandboxes keep less than they should here: {}.", in_one_line(gaps))

    def _log(self, tool: str, end: dict[str, Any]) -> None:
        if printed := words_printed(end):
            details.debug("The tool {} printed in its sandbox: {}", tool, printed, tool=tool)


async def _greeting(reader: asyncio.StreamReader) -> bytes:
    """What the other side says first; `GONE` when there is none."""
    try:
        return await reader.read(1)
    except ConnectionError:
        return wire.GONE


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: dict[str, Any], greeting: bytes
) -> tuple[dict[str, Any], bytes]:
    """How the call ended, and its answer."""
    if greeting == wire.READY:
        writer.write(wire.packed(request))
        await writer.drain()
    return json.loads(await wire.read(reader)), await wire.read(reader)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Have the guard end the call, and wait a moment until it has."""
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        writer.write_eof()
        await asyncio.wait_for(reader.read(), _HANG_UP_S)


def _context(call: SandboxCall) -> dict[str, Any]:
    context = call.context
    try:
        json.dumps(context.deps)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The tool {call.tool!r} runs in another process, and the run's deps, {type(context.deps).__name__},"
            " cannot go there.",
            remedy="Give deps that are JSON, or run the tool without a sandbox.",
        ) from error
    return {
        "idempotency_key": context.idempotency_key,
        "agent": context.agent,
        "task": context.task,
        "session": context.session,
        "deps": context.deps,
    }


def _refused(message: str, remedy: str | None = None) -> ToolError:
    """The function was not begun."""
    return ToolError(message, error_type="denied", remedy=remedy)
