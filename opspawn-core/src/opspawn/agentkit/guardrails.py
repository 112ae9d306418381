"""The guardrails of a run: asked in turn, each once; what they hold back is recorded like the denial of a policy.

The verdict is a step of its own, so that a replay neither asks again nor hears otherwise. Whatever goes wrong in a
guardrail holds back what it looked at.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, overload

from opspawn.agentkit.approvals import NOBODY, SCHEMA
from opspawn.agentkit.deciding import PATIENCE_S
from opspawn.agentkit.digests import digest
from opspawn.agentkit.failures import FAULTS, named
from opspawn.agentkit.log import Grant
from opspawn.agentkit.matching import glob
from opspawn.agentkit.output import Misfit
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.questions import make_question
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.scopes import Scope, current
from opspawn.contracts.guardrail import Guarding, Redact, Seen, Sight
from opspawn.contracts.model import Message
from opspawn.contracts.policy import Decision, Verdict
from opspawn.contracts.question import Question
from opspawn.errors import BudgetExceeded, ConfigError, Denied, Halt, ModelError

if TYPE_CHECKING:
    from opspawn.agentkit.thinking import Thinking

_SHOWN = 600  # characters of what was seen, in the text of a question
_WHAT = {"input": "the input of the run", "output": "the model's answer", "result": "the result of {tool!r}"}


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A guardrail. `tools` is a glob of the tools whose results it looks at; `parallel` lets it look at the input
    beside the first model call, whose answer waits for it. `hold` keeps answers from being shown before it has seen
    them whole.
    """

    name: str
    function: Guarding
    on: frozenset[Sight]
    tools: str = "*"
    parallel: bool = False
    hold: bool = True

    def fits(self, seen: Seen) -> bool:
        """Whether it looks at this."""
        return seen.on in self.on and (seen.on != "result" or glob(self.tools, seen.tool or ""))


@overload
def guardrail(function: Guarding, /) -> Guardrail: ...
@overload
def guardrail(
    *,
    on: Sight | Sequence[Sight] = ("input",),
    tools: str = "*",
    parallel: bool = False,
    hold: bool = True,
    name: str | None = None,
) -> Callable[[Guarding], Guardrail]: ...
def guardrail(
    function: Guarding | None = None,
    /,
    *,
    on: Sight | Sequence[Sight] = ("input",),
    tools: str = "*",
    parallel: bool = False,
    hold: bool = True,
    name: str | None = None,
) -> Guardrail | Callable[[Guarding], Guardrail]:
    """Make a guardrail of a function of a `Seen`: `@guardrail`, or `@guardrail(on="result", tools="web_*")`.

    Args:
        on: "input" (by default), "output", "result", or several.
        tools: of results, only those of these tools, as a glob.
        parallel: of the input, look beside the first model call instead of before it; what it holds back is then not
            unsaid to the model, but nothing comes of it.
        hold: of the output, whether the model's text is kept from listeners and streams until the answer has passed;
            False shows pieces as they come, before it can see the whole.
        name: for the journal; by default that of the function.

    Raises: ConfigError: it can look at nothing of the kind.
    """

    def made(function: Guarding) -> Guardrail:
        called = name or str(getattr(function, "__name__", type(function).__name__))
        sights = (on,) if isinstance(on, str) else tuple(on)
        if not callable(function):
            raise ConfigError(f"{function!r:.80} is no guardrail; a function is meant.")
        for sight in sights:
            if sight not in get_args(Sight):
                raise ConfigError(
                    f"The guardrail {called!r} looks at {sight!r}.", remedy="Known: input, output, result."
                )
        if not sights or (parallel and "input" not in sights):
            raise ConfigError(f"The guardrail {called!r} has nothing to look at, or nothing beside a model call.")
        return Guardrail(called, function, frozenset(sights), tools, parallel, hold)

    return made if function is None else made(function)


def as_guardrail(given: Any) -> Guardrail:
    """A guardrail, or a function as one of the input. Raises: ConfigError: it is neither."""
    return given if isinstance(given, Guardrail) else guardrail(given)


class Guards:
    """The guardrails of one run."""

    def __init__(self, run: Thinking, guardrails: Sequence[Guardrail]) -> None:
        self._run = run
        self._all = tuple(guardrails)
        self._beside = [one for one in self._all if one.parallel and "input" in one.on]
        self._passed: set[str] = set()

    async def input(self, value: Any) -> Any:
        """The input that the run begins with. Raises: Denied."""
        seen = self._seen("input", value)
        before = [one for one in self._all if one not in self._beside]
        return await self._through(before, seen, "guard/input")

    async def beside(self, call: Awaitable[Any]) -> Any:
        """Await the first model call, and those that look at the input beside it. Raises: Denied."""
        guardrails, self._beside = self._beside, []
        if not guardrails:
            return await call

        async def look() -> None:
            seen = self._seen("input", self._run.input)
            after = await self._through(guardrails, seen, "guard/input")
            if after != seen.value:
                words = "A guardrail that looks beside the model call cannot change what the model was told already."
                raise Denied(f"{words} Take parallel=True away.")

        async def answer() -> Any:
            return await call

        [response, _] = await self._run._fan_out([answer(), look()])
        return response

    async def output(self, text: str, key: str) -> str:
        """An answer as it counts. Raises: Denied."""
        if text in self._passed or not any("output" in one.on for one in self._all):
            return text
        found = await self._through(self._all, self._seen("output", text), key)
        said = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        self._passed.add(said)
        return said

    async def result(self, tool: str, arguments: Any, text: str, key: str) -> str:
        """A result as the model may see it. Raises: Denied."""
        seen = self._seen("result", text, tool=tool, arguments=arguments)
        found = await self._through(self._all, seen, f"{key}/guard")
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    def looks(self, tool: str) -> int:
        """How many of them look at the results of a tool."""
        return sum(one.fits(Seen("result", "", "", tool)) for one in self._all)

    @property
    def hold_answers(self) -> bool:
        """Whether nobody may be shown what the model says before it has passed."""
        return any("output" in one.on and one.hold for one in self._all)

    def _seen(self, on: Sight, value: Any, **more: Any) -> Seen:
        run = self._run
        return Seen(on, value, run.agent, task=run.task, session=run.session, deps=run.deps, **more)

    async def _through(self, guardrails: Sequence[Guardrail], seen: Seen, stem: str) -> Any:
        value = seen.value
        for one in guardrails:
            if one.fits(seen):
                looked = Seen(
                    seen.on,
                    copy.deepcopy(value),
                    seen.agent,
                    seen.tool,
                    copy.deepcopy(seen.arguments),
                    seen.task,
                    seen.session,
                    seen.deps,
                )
                try:
                    value = await self._passed_by(one, looked, value, f"{stem}/{one.name}")
                except Halt as halt:
                    await self._run._halt(halt)
        return value

    async def _passed_by(self, one: Guardrail, seen: Seen, value: Any, key: str) -> Any:
        """What one of them lets pass. Raises: Denied, recorded."""
        run, log = self._run, self._run._log
        plain = plain_json(value) if log.durable else value
        asked = Asked(key, "guard", one.name, digest([seen.on, plain]) if log.durable else "")
        known = log.recall(asked) if log.durable else None
        outcome: dict[str, Any] = {"on": seen.on} if seen.tool is None else {"on": seen.on, "tool": seen.tool}
        if known is None:
            said = await _said(one, seen, _Judge(run, f"{key}/"))
            if isinstance(said, Verdict) and said.decision == "ask":
                said = await self._asked(one, seen, said, asked)
            if isinstance(said, Verdict) and said.decision == "deny":
                await run.refuse(asked, _held(one, seen, said.reason))
            if isinstance(said, Redact):
                outcome |= {"value": said.value, "reason": said.reason}

        async def perform() -> Mapping[str, Any]:
            return outcome

        told = await run._once(asked, perform, encode=plain_json, decode=lambda data: data, effect="read")
        return told.get("value", value)

    async def _asked(self, one: Guardrail, seen: Seen, verdict: Verdict, asked: Asked) -> Verdict | Redact:
        """What a human says."""
        at = Asked(f"{asked.key}/approval", "ask", "approval", asked.digest)
        told = await self._run._put_approval(at, _question(one, seen, verdict, asked.digest), verdict.expires_s, NOBODY)
        value, by = told["value"], told.get("by")
        if value["decision"] != "approve":
            who = "" if told.get("expired") else f"{by or 'A human'} said no. "
            return Verdict("deny", f"{who}{value.get('reason', '')}".strip())
        try:
            await self._run._log.redeem(at, Grant(told.get("question"), at.digest, by), with_intent=False)
        except Denied as denied:
            return Verdict("deny", denied.message)
        edited = value.get("arguments") or {}
        return Redact(edited["value"], f"{by} changed it.") if "value" in edited else Verdict("allow")


class _Judge:
    """The model of the run, for a guardrail; its calls have a scope of their own."""

    def __init__(self, run: Thinking, prefix: str) -> None:
        self._run = run
        self._scope = Scope(run._root.run, prefix)

    async def think(self, prompt: str | Sequence[Message], *, output: Any = None) -> Any:
        messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
        token = current.set(self._scope)
        try:
            form = self._run._form_of(output)
            if form is None:
                return (await self._run._call_model("guard", messages, (), None)).text
            for _ in range(1 + form.retries):
                response = await self._run._call_model("guard", form.told(messages), (), form)
                found = form.read(response)
                if not isinstance(found, Misfit):
                    return found.value
                messages += form.correction(response, found.words)
        finally:
            current.reset(token)
        raise ModelError("The model never answered with what the guardrail wants.", error_type="invalid_output")


async def _said(one: Guardrail, seen: Seen, judge: _Judge) -> Verdict | Redact | None:
    """What a guardrail says; whatever goes wrong with it holds back."""
    try:
        if len(inspect.signature(one.function).parameters) > 1:
            said = one.function(seen, judge)
            said = await said if inspect.isawaitable(said) else said  # a model call may wait, without a slot
        else:
            said = one.function(seen)
            if inspect.isawaitable(said):
                async with asyncio.timeout(PATIENCE_S):
                    said = await said
        if isinstance(said, Redact):
            return Redact(plain_json(said.value), said.reason)
    except (Halt, BudgetExceeded):
        raise
    except FAULTS as error:
        return Verdict("deny", f"The guardrail {one.name!r} failed, which holds it back: {named(error)}")
    if said is None:
        return None
    if isinstance(said, Verdict) and said.decision in get_args(Decision):
        return said
    return Verdict("deny", f"The guardrail {one.name!r} gave no verdict, which holds it back.")


def _held(one: Guardrail, seen: Seen, reason: str) -> Denied:
    what = _WHAT[seen.on].format(tool=seen.tool)
    words = f"The guardrail {one.name!r} held back {what}."
    error = Denied(f"{words} {reason}" if reason else words)
    error.detail = {"act": seen.on, "name": seen.tool or seen.on, "reason": reason, "policy": one.name}
    return error


def _question(one: Guardrail, seen: Seen, verdict: Verdict, what: str) -> Question:
    shown = seen.value if isinstance(seen.value, str) else json.dumps(seen.value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(shown)} characters)"
    text = f"May {_WHAT[seen.on].format(tool=seen.tool)} pass in a run of {seen.agent}? {shown}"
    text += f" {verdict.reason[:2000]}" if verdict.reason else ""
    made = make_question(text, None, SCHEMA, ", ".join(verdict.approvers)[:200] or None, kind="approval", digest=what)
    call = {
        "act": seen.on,
        "name": seen.tool or seen.on,
        "arguments": {"value": plain_json(seen.value)},
        "reason": verdict.reason,
        "policy": one.name,
    }
    return Question(made.text, made.choices, made.schema, made.to, made.kind, made.digest, call)
