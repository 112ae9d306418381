"""What is recorded: who called what, with which arguments, what was decided and why, and how it ended.

A call is made once its begin is recorded. Its end is recorded with whatever is recorded next, or by itself a few
milliseconds later, so that nobody who has the answer waits for that.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger
from mcp.types import CallToolResult, TextContent

from opspawn.agentkit.digests import canonical
from opspawn.config.secrets import masked, redact
from opspawn.contracts.policy import Considered, Verdict
from opspawn.contracts.tool import ToolContext
from opspawn.errors import Denied, OpspawnError
from opspawn_mcp.audit.chain import Chain
from opspawn_mcp.audit.log import AuditFailed, AuditLog, now
from opspawn_mcp.audit.settings import AuditConfig

T = TypeVar("T")

_MOST_SHOWN = 1000
_MOST_WORDS = 300
_DAY_S = 86_400.0
#: How long after a call its end may be recorded, in seconds.
_LATER_S = 0.01


class Audit:
    """The audit log of a fleet."""

    def __init__(self, config: AuditConfig, root: Path) -> None:
        """Take the settings; nothing is written before there is something to record."""
        self.config = config
        self.folder = root / config.folder
        #: Who acts where no run does: a person at the command line.
        self.by: str | None = None
        keep_s = None if config.keep_days is None else config.keep_days * _DAY_S
        self._log = AuditLog(self.folder, chain_of(config), max_bytes=config.max_bytes, keep_s=keep_s, sync=config.sync)
        self._lost = 0
        self._ended: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    async def decided(self, server: str, tool: str, considered: Considered, verdict: Verdict, pin: str) -> None:
        """Record that a call was denied, or that somebody is asked. Raises: Denied: it cannot be recorded."""
        who = {"agent": considered.agent, "task": considered.task, "session": considered.session}
        await self._must(server, tool, "decision", {
            **self._about(who, server, tool, considered.arguments, pin),
            "decision": verdict.decision,
            "reason": _short(verdict.reason),
        })  # fmt: skip

    async def around(
        self,
        make: Callable[[], Awaitable[T]],
        server: str,
        tool: str,
        arguments: Mapping[str, Any],
        context: ToolContext,
        effect: str,
        pin: str,
    ) -> T:
        """Make a call, recorded before and after. Raises: Denied: it cannot be recorded; and what `make` raises."""
        if not self.config.enabled:
            return await make()
        who = {"agent": context.agent, "task": context.task, "session": context.session}
        about = self._about(who, server, tool, arguments, pin)
        about["decision"], about["effect"], about["key"] = "allow", effect, context.idempotency_key or None
        n = await self._must(server, tool, "call", about)
        began = time.monotonic()
        try:
            outcome = await make()
        except BaseException as error:
            self._ends(n, began, server, tool, _failed(error))
            raise
        self._ends(n, began, server, tool, _succeeded(outcome))
        return outcome

    def _ends(self, n: int | None, began: float, server: str, tool: str, told: Mapping[str, Any]) -> None:
        """Have it recorded soon how a call ended. What cannot be is counted, and told by the next record."""
        if n is None:  # its begin was lost, so nothing is there for it to be the end of
            self._lost += 1
            return
        took_ms = round((time.monotonic() - began) * 1000, 3)
        end = {"kind": "end", "at": now(), "of": n, "server": server, "tool": tool, **told, "durationMs": took_ms}
        self._ended.append(end)
        self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATER_S, self._write_soon)

    def _write_soon(self) -> None:
        self._timer = None
        if self._writing is not None and not self._writing.done():  # it waits for another process
            self._soon()
        elif self._ended:
            self._writing = asyncio.create_task(self._write_ends(), name="mcp-audit-ends")

    async def _write_ends(self) -> None:
        ended, self._ended = self._ended, []
        try:
            await self._log.append(*ended)
        except AuditFailed as error:
            self._lost += len(ended)
            _warn(error)

    async def note(self, kind: str, told: Mapping[str, Any]) -> None:
        """Record something that has happened already. What cannot be recorded is counted, and logged."""
        try:
            await self._put(kind, told)
        except AuditFailed as error:
            self._lost += 1
            _warn(error)

    async def aclose(self) -> None:
        """Record what has ended, and close the files."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        if self._ended:
            await self._write_ends()
        self._log.close()

    async def _must(self, server: str, tool: str, kind: str, told: Mapping[str, Any]) -> int | None:
        try:
            return await self._put(kind, told)
        except AuditFailed as error:
            if self.config.on_failure == "refuse":
                words = f"{server}/{tool} was not called, since nothing can be recorded of it. {error.message}"
                raise Denied(words, remedy=error.remedy) from error
            self._lost += 1
            _warn(error)
            return None

    async def _put(self, kind: str, told: Mapping[str, Any]) -> int | None:
        """Record something after what has ended already. Raises: AuditFailed: none of it could be."""
        if not self.config.enabled:
            return None
        lost, (ended, self._ended) = self._lost, (self._ended, [])
        record = {"kind": kind, "at": now(), **told, "lost": lost or None}
        try:
            n = self._log.append_now(*ended, record)
            if n is None:
                n = await self._log.append(*ended, record)
        except AuditFailed:
            self._lost += len(ended)
            raise
        except BaseException:  # cut off while another process wrote
            self._ended = ended + self._ended
            self._soon()
            raise
        self._lost -= lost
        return n

    def _about(self, who: Mapping[str, Any], server: str, tool: str, arguments: Any, pin: str) -> dict[str, Any]:
        digest = hashlib.sha256(canonical(arguments)).hexdigest()
        shown = {}
        if self.config.arguments == "clamped":
            plain = json.dumps(masked(arguments), ensure_ascii=False, default=repr)
            shown = {"arguments": plain if len(plain) <= _MOST_SHOWN else f"{plain[:_MOST_SHOWN]}…"}
        return {**who, "by": self.by, "server": server, "tool": tool, "digest": digest, **shown, "pin": pin}


def chain_of(config: AuditConfig) -> Chain:
    """How the records are chained."""
    return Chain(None if config.signing_key is None else config.signing_key.get_secret_value().encode())


def _succeeded(outcome: object) -> dict[str, Any]:
    if isinstance(outcome, CallToolResult):
        return {"outcome": "failed" if outcome.is_error else "ok", "bytes": size_of(outcome)}
    return {"outcome": "ok", "bytes": _length(str(outcome))}


def _failed(error: BaseException) -> dict[str, Any]:
    if isinstance(error, OpspawnError):
        return {"outcome": error.error_type, "error": _short(error.message)}
    if isinstance(error, Exception):
        return {"outcome": "error", "error": _short(f"{type(error).__name__}: {error}")}
    return {"outcome": "cut off"}


def size_of(result: CallToolResult) -> int:
    """How much a server answered, in bytes of its content."""
    total = sum(_length(_text_of(item)) for item in result.content)
    if not total and result.structured_content is not None:
        total = _length(json.dumps(result.structured_content, ensure_ascii=False))
    return total


def _text_of(item: Any) -> str:
    if isinstance(item, TextContent):
        return item.text
    resource = getattr(item, "resource", None)
    texts = (getattr(item, "data", None), getattr(resource, "text", None), getattr(resource, "blob", None))
    return next((text for text in texts if text), "")


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _short(text: str) -> str:
    text = redact(" ".join(text.split()))
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"


def _warn(error: AuditFailed) -> None:
    logger.bind(plugin="mcp", error_type=error.error_type).error("Nothing is recorded of MCP calls: {}", error.message)
