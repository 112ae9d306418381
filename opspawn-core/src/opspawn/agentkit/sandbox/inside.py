"""Within the walls: one process that runs one function once, writes its answer to a pipe, and is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NoReturn

from opspawn.agentkit.failures import error_to_json
from opspawn.agentkit.function_tool import FunctionTool
from opspawn.agentkit.sandbox import kernel, walls
from opspawn.agentkit.sandbox.promises import Plan, gaps
from opspawn.contracts.tool import ToolContext
from opspawn.errors import OpspawnError

_LONGEST_TRACEBACK = 8_192


def run(
    tool: FunctionTool[..., Any], request: Mapping[str, Any], plan: Plan, place: walls.Place, answer: int
) -> NoReturn:
    """Build the walls, run the tool, write the answer, end the process. 0, 1 and 2 are the tool's own files."""
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(place.folder)
        os.environ.update({"HOME": place.folder, "TMPDIR": place.folder, "PWD": place.folder, "USER": "tool"})
        tempfile.tempdir = None  # found anew
        held = walls.build(plan, place)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # anew: becoming another user forgets it
        told: dict[str, Any] = {"gaps": gaps(held, network=plan.network), "held": asdict(held)}
        if told["gaps"] and plan.required:
            _write(answer, told)
            os._exit(0)
    except BaseException as error:
        _write(answer, {"setup": f"{type(error).__name__}: {error}"})
        os._exit(0)
    try:
        told["value"] = _called(tool, request)
        body = _packed(told)
    except BaseException as error:
        told.pop("value", None)
        body = _packed(told | {"error": _described(error), "traceback": _trace(error)})
    _send(answer, body)
    _flush()
    os._exit(0)


def _called(tool: FunctionTool[..., Any], request: Mapping[str, Any]) -> Any:
    context: ToolContext = ToolContext(**request["context"])
    if tool.is_async:
        return asyncio.run(tool.call_here(request["arguments"], context))
    return tool.run_here(request["arguments"], context)


def _described(error: BaseException) -> dict[str, Any]:
    if isinstance(error, SystemExit):
        return {"type": "tool_error", "class": "ToolError", "message": f"It called sys.exit({error.code!r})."}
    if isinstance(error, MemoryError):
        return {"type": "tool_error", "class": "ToolError", "message": "It ran out of its memory."}
    try:
        data = error_to_json(error)
    except BaseException:  # its own text cannot be made
        data = {"message": type(error).__name__}
    return data if isinstance(error, OpspawnError) else data | {"type": "tool_error", "class": "ToolError"}


def _trace(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-12)
    except BaseException:  # an error whose own text cannot be made
        return ""
    text = "".join(lines)
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


def _packed(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _write(answer: int, data: Mapping[str, Any]) -> None:
    _send(answer, _packed(data))


def _send(answer: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(answer, view) :]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the tool closed it
            continue
