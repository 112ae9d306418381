"""What is recorded: who called what, with which arguments, what was decided and why, and how it ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger
from mcp.types import CallToolResult

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


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was recorded: its number, and when it began, monotonic."""

    n: int | None
    began: float


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

    async def decided(self, server: str, tool: str, considered: Considered, verdict: Verdict, pin: str) -> None:
        """Record that a call was denied, or that somebody is asked. Raises: Denied: it cannot be recorded."""
        who = {"agent": considered.agent, "task": considered.task, "session": considered.session}
        await self._must(server, tool, "decision", {
            **self._about(who, server, tool, considered.arguments, pin),
            "decision": verdict.decision,
            "reason": _short(verdict.reason),
        })  # fmt: skip

    async def begins(
        self, server: str, tool: str, arguments: Mapping[str, Any], context: ToolContext, effect: str, pin: str
    ) -> Call:
        """Record a call before it is made. Raises: Denied: it cannot be, and calls are refused."""
        who = {"agent": context.agent, "task": context.task, "session": context.session}
        about = self._about(who, server, tool, arguments, pin)
        key = {"key": context.idempotency_key} if context.idempotency_key else {}
        n = await self._must(server, tool, "call", {**about, "decision": "allow", "effect": effect, **key})
        return Call(n, time.monotonic())

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
        call = await self.begins(server, tool, arguments, context, effect, pin)
        try:
            outcome = await make()
        except BaseException as error:
            await self.ends(call, server, tool, error)
            raise
        await self.ends(call, server, tool, outcome)
        return outcome

    async def ends(self, call: Call, server: str, tool: str, outcome: object) -> None:
        """Record how a call ended. What cannot be recorded now is counted, and told by the next record."""
        told: dict[str, Any] = {"of": call.n, "server": server, "tool": tool}
        if isinstance(outcome, CallToolResult):
            told |= {"outcome": "failed" if outcome.is_error else "ok", "bytes": size_of(outcome)}
        elif isinstance(outcome, OpspawnError):
            told |= {"outcome": outcome.error_type, "error": _short(outcome.message)}
        elif isinstance(outcome, Exception):
            told |= {"outcome": "error", "error": _short(f"{type(outcome).__name__}: {outcome}")}
        elif isinstance(outcome, BaseException):
            told["outcome"] = "cut off"
        else:
            told |= {"outcome": "ok", "bytes": len(str(outcome).encode("utf-8", "surrogatepass"))}
        told["durationMs"] = round((time.monotonic() - call.began) * 1000, 3)
        await self.note("end", told)

    async def note(self, kind: str, told: Mapping[str, Any]) -> None:
        """Record something that has happened already. What cannot be recorded is counted, and logged."""
        try:
            await self._put(kind, told)
        except AuditFailed as error:
            self._lost += 1
            _warn(error)

    def close(self) -> None:
        """Close the files."""
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
        if not self.config.enabled:
            return None
        lost = self._lost
        record = {"kind": kind, "at": now(), **told, **({"lost": lost} if lost else {})}
        n = await self._log.append({key: value for key, value in record.items() if value is not None})
        self._lost -= lost
        return n

    def _about(self, who: Mapping[str, Any], server: str, tool: str, arguments: Any, pin: str) -> dict[str, Any]:
        text = json.dumps(arguments, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=repr)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        shown = {}
        if self.config.arguments == "clamped":
            plain = json.dumps(masked(arguments), ensure_ascii=False, default=repr)
            shown = {"arguments": plain if len(plain) <= _MOST_SHOWN else f"{plain[:_MOST_SHOWN]}…"}
        return {**who, "by": self.by, "server": server, "tool": tool, "digest": digest, **shown, "pin": pin}


def chain_of(config: AuditConfig) -> Chain:
    """How the records are chained."""
    return Chain(None if config.signing_key is None else config.signing_key.get_secret_value().encode())


def size_of(result: CallToolResult) -> int:
    """How much a server answered, in bytes of its content."""
    total = 0
    for item in result.content:
        text = getattr(item, "text", None) or getattr(item, "data", None)
        resource = getattr(item, "resource", None)
        text = text or getattr(resource, "text", None) or getattr(resource, "blob", None) or ""
        total += len(str(text).encode("utf-8", "surrogatepass"))
    if not total and result.structured_content is not None:
        total = len(json.dumps(result.structured_content, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return total


def _short(text: str) -> str:
    text = redact(" ".join(text.split()))
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"


def _warn(error: AuditFailed) -> None:
    logger.bind(plugin="mcp", error_type=error.error_type).error("Nothing is recorded of MCP calls: {}", error.message)
