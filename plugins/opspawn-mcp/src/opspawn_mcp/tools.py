"""One tool of a server, as an agent has it."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp.shared.dispatcher import ProgressFnT

from opspawn.contracts.policy import Considered, Verdict
from opspawn.contracts.retry import RetryPolicy
from opspawn.contracts.tool import DidNotHappen, Effect, GoOn, ToolContext, ToolOptions
from opspawn.errors import Denied, InvalidInput
from opspawn_mcp.naming import model_name
from opspawn_mcp.results import value_of
from opspawn_mcp.signing.asking import MOST_ROUNDS, sign_in, waits
from opspawn_mcp.signing.needed import SignInNeeded
from opspawn_mcp.standing import Standing, effect_of
from opspawn_mcp.tasks.begun import begun_in

if TYPE_CHECKING:
    from mcp.types import CallToolResult

    from opspawn_mcp.audit.audit import Audit
    from opspawn_mcp.fleet import Member
    from opspawn_mcp.server import Link

_EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
#: A call that may be repeated is, when its connection fails.
_AGAIN = ToolOptions(retry=RetryPolicy(attempts=3, initial_s=0.5, max_s=10.0, when=("transient",)))
_ONCE = ToolOptions()


class McpTool:
    """A tool of an MCP server; see `opspawn.contracts.tool.Tool`. Its own policy is asked beside all others."""

    timeout_s: float | None = None  # the server's own limit counts, whose words say more

    def __init__(self, member: Member, tool: str, standing: Standing) -> None:
        """A tool by the server's name for it, shown as the definition of its standing says."""
        definition = standing.definition
        self.name = model_name(member.name, tool)
        self.tool = tool
        self.description: str = definition.description if definition else ""
        self.parameters: dict[str, Any] = dict(definition.parameters) if definition else dict(_EMPTY)
        self.output: Mapping[str, Any] | None = definition.output if definition else None
        self.effect: Effect = effect_of(member.config, tool, definition)
        self.options = _ONCE if self.effect == "once" else _AGAIN
        self._member = member

    @property
    def decider(self) -> McpTool:
        """What decides on its calls: itself, by the grants and rules of its server."""
        return self

    def decide(self, considered: Considered) -> Verdict | Awaitable[Verdict] | None:
        """Deny what is not approved or not granted; then what the rules say. What is not allowed is recorded."""
        verdict = self._verdict(considered)
        if verdict is None or verdict.decision == "allow" or self._member.audit is None:
            return verdict
        return self._kept(verdict, considered, self._member.audit)

    async def _kept(self, verdict: Verdict, considered: Considered, audit: Audit) -> Verdict:
        pin = self._member.standing(self.tool).status
        await audit.decided(self._member.name, self.tool, considered, verdict, pin)
        return verdict

    def _verdict(self, considered: Considered) -> Verdict | None:
        standing = self._member.standing(self.tool, look=False)  # what is allowed is looked at before it is sent
        if not standing.usable:
            standing = self._member.standing(self.tool)
        if standing.status != "gone" and not standing.usable:
            return Verdict("deny", self._words(standing))
        return self._member.policy.decide(self.tool, considered)

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Send the call, if the tool is still what was approved, and return what the server answers.

        Raises: Denied: it is not. InvalidInput: the server has no such tool. ServerFault: the server failed; says how.
            ToolError: the tool did.
        """
        member, audit = self._member, self._member.audit
        send = partial(self._send if member.signer is None else self._signed_in, arguments, context)
        if audit is None:
            result = await send()
        else:
            pin = member.standing(self.tool, look=False).status
            result = await audit.around(send, member.name, self.tool, arguments, context, self.effect, pin)
        return value_of(result, member.name, self.tool, member.config.max_result_bytes)

    def _send(self, arguments: dict[str, Any], context: ToolContext) -> Coroutine[Any, Any, CallToolResult]:
        return self._member.calls.call(
            self.tool,
            arguments,
            effect=self.effect,
            check=self._check,
            on_progress=None if context.report is None else _telling(context),
            ask=context.ask,
            think=context.think,
            notes=context.notes,
        )

    async def _signed_in(self, arguments: dict[str, Any], context: ToolContext) -> CallToolResult:
        """The answer; where a person must sign in first, somebody is asked to."""
        signer, fault = self._member.signer, ""
        for left in range(MOST_ROUNDS, -1, -1):
            try:
                return await self._send(arguments, context)
            except SignInNeeded as needed:
                if signer is None or left == 0:
                    raise
                fault = await sign_in(signer, needed, context, fault)
        raise AssertionError("the last round returns or raises")

    async def check(self, arguments: Any, context: ToolContext) -> DidNotHappen | GoOn | None:
        """What is known of a call that began before a crash: one that became a task goes on, and one that waited for a
        person to sign in was not sent.
        """
        if begun_in(context.notes) is not None:
            return GoOn()
        return DidNotHappen() if waits(context) else None

    def _check(self, link: Link) -> None:
        """Raises: Denied, InvalidInput; before anything is sent."""
        standing = self._member.standing(self.tool)
        if standing.status == "gone":
            names = [one.name for one in link.tools]
            near = difflib.get_close_matches(self.tool, names, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise InvalidInput(f"The MCP server {self._member.name!r} has no tool {self.tool!r}.{hint}")
        if not standing.usable:
            raise Denied(f"{self._member.name}/{self.tool} was not called. {self._words(standing)}")

    def _words(self, standing: Standing) -> str:
        words = f"It is held back: {standing.why}."
        if standing.status in ("new", "changed"):
            words += f" An operator can look at it with 'opspawn mcp approve {self._member.name}'."
        return words


def _telling(context: ToolContext) -> ProgressFnT:
    """Hands on to the run what the server says of its progress."""

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        context.progress(message, done=progress, total=total)

    return tell
