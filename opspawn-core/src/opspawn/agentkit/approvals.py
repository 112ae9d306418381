"""Approvals: the question that a policy has a human asked, and what the answer allows.

An approval belongs to the step that asked and to the digest of its exact arguments, and is used by that step alone; the
log sees to it (`StepLog.redeem`). It stands at the step's key, so a resumed run finds it again; where the code then
asks for something else, the digests differ, and the run halts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opspawn.agentkit.arguments import checkable
from opspawn.agentkit.deciding import ALLOWED, Policies, Ruling
from opspawn.agentkit.digests import digest
from opspawn.agentkit.log import Grant, StepLog
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.questions import make_question
from opspawn.agentkit.recorded import Asked
from opspawn.contracts.policy import Approve, Considered, Deny
from opspawn.contracts.question import Question
from opspawn.errors import ConfigError, Denied, InvalidInput

#: The answers that fit an approval.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "enum": ["approve", "deny"]},
        "reason": {"type": "string"},
        "arguments": {"type": "object"},
        "always": {"type": "boolean"},
    },
    "required": ["decision"],
    "additionalProperties": False,
}
NOBODY = {"decision": "deny", "reason": "Nobody decided in time."}
_SHOWN = 600  # characters of the arguments in the text of the question; `Question.call` has them whole

#: Puts a question at a step, and gives what was answered: `{"value", "by", "question", "expired"}`.
Put = Callable[[Asked, Question, float | None, Any], Awaitable[Mapping[str, Any]]]


#: Looks at arguments as a call would. Raises: InvalidInput.
Fits = Callable[[Any], None]


@dataclass(slots=True)
class Gate:
    """What stands before one call. `arguments` are those to be used, once `enter` has returned; `changed` says that an
    approver has edited them, for a tool that takes `parameters`; `fits` has it look at them itself, where whoever gave
    them can be told.
    """

    policies: Policies
    considered: Considered
    what: str
    log: StepLog
    put: Put
    arguments: Any = None
    changed: bool = False
    parameters: Mapping[str, Any] | None = None
    fits: Fits | None = None

    @property
    def digest(self) -> str:
        """What an approval is bound to: `what` it is about, else the name and the arguments."""
        return self.what or call_digest(self.considered.name, self.considered.arguments)

    async def enter(self, asked: Asked, *, with_intent: bool) -> None:
        """Return if the call may be carried out; an approval is then used, or will be with the record of the intent.

        Raises: Denied: a policy, or whoever was asked, said no.
        """
        self.arguments = self.considered.arguments
        ruling = await self.policies.decide(self.considered)
        if ruling is ALLOWED:
            return
        if ruling.verdict.decision == "deny":
            raise _denied(self.considered, ruling.verdict.reason, ruling.policy)
        scope = f"{self.considered.act} {self.considered.name} by {ruling.policy}"
        at = Asked(f"{asked.key}/approval", "ask", "approval", self.digest)
        grant = self.log.standing(scope, at.key) or await self._approval(at, ruling, scope)
        await self.log.redeem(asked, grant, with_intent=with_intent)

    async def _approval(self, at: Asked, ruling: Ruling, scope: str) -> Grant:
        question = approval(self.considered, ruling, self.digest, scope, self.parameters)
        told = await self.put(at, question, ruling.verdict.expires_s, NOBODY)
        value, by = told["value"], told.get("by")
        if value["decision"] != "approve":
            who = "" if told.get("expired") else f"{by or 'A human'} said no. "
            raise _denied(self.considered, f"{who}{value.get('reason', '')}".strip(), ruling.policy, by)
        edited = value.get("arguments")
        if edited is not None and edited != self.considered.arguments:
            await self._edit(edited, by)
        return Grant(told.get("question"), self.digest, by, self.arguments if self.changed else None)

    async def _edit(self, arguments: Any, by: str | None) -> None:
        """Use other arguments, unless a policy forbids these. Raises: Denied; ConfigError: they do not fit."""
        considered = Considered(
            self.considered.act,
            self.considered.name,
            arguments,
            self.considered.agent,
            self.considered.effect,
            self.considered.task,
            self.considered.session,
            self.considered.deps,
            self.considered.messages,
        )
        ruling = await self.policies.decide(considered)
        if ruling.verdict.decision == "deny":
            raise _denied(considered, ruling.verdict.reason, ruling.policy, by)
        if self.fits is not None:
            try:
                self.fits(arguments)
            except InvalidInput as error:
                raise misfit(considered.name, error) from error
        self.arguments, self.changed = arguments, True


def approval(
    considered: Considered, ruling: Ruling, what: str, scope: str, parameters: Mapping[str, Any] | None = None
) -> Question:
    """The question of whether a call may be carried out, of a tool that takes `parameters`."""
    shown = json.dumps(considered.arguments, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(shown)} characters)"
    verb = {"tool": "call the tool", "model": "ask the model", "dispatch": "give work to"}[considered.act]
    text = f"May {considered.agent} {verb} {considered.name} with {shown}?"
    text += f" {ruling.verdict.reason[:2000]}" if ruling.verdict.reason else ""
    to = ", ".join(ruling.verdict.approvers)[:200] or None
    made = make_question(text, None, _schema(parameters), to, kind="approval", digest=what)
    call = {
        "act": considered.act,
        "name": considered.name,
        "arguments": considered.arguments,
        "reason": ruling.verdict.reason,
        "policy": ruling.policy,
        "scope": scope,
    }
    return Question(made.text, made.choices, made.schema, made.to, made.kind, made.digest, plain_json(call))


def _schema(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The answers that fit, so that nobody is told that a call goes on which then cannot."""
    arguments = checkable(parameters or {})
    if "properties" not in arguments:
        return SCHEMA
    return {**SCHEMA, "properties": {**SCHEMA["properties"], "arguments": {**arguments, "type": "object"}}}


def answer_of(said: Any) -> dict[str, Any]:
    """What an `on_approval` said, as the answer of an approval; anything but a clear yes is a no."""
    if said is True:
        said = Approve()
    if isinstance(said, Approve):
        told: dict[str, Any] = {"decision": "approve", "always": said.always}
        return told if said.arguments is None else {**told, "arguments": plain_json(dict(said.arguments))}
    return {"decision": "deny", "reason": said.reason if isinstance(said, Deny) else ""}


def misfit(name: str, error: InvalidInput) -> ConfigError:
    """What an `on_approval` gave for a call does not fit: no fault of the model's, which is not told."""
    words = "; ".join(error.faults) or error.message
    remedy = "Mend on_approval, or have it deny the call."
    return ConfigError(f"What on_approval gave for {name!r} does not fit: {words.rstrip('.')}.", remedy=remedy)


def call_digest(name: str, arguments: Any) -> str:
    """What an approval is bound to."""
    return digest([name, arguments])


def _denied(considered: Considered, reason: str, policy: str, by: str | None = None) -> Denied:
    words = f"{considered.name!r} was not carried out: it is not allowed."
    error = Denied(f"{words} {reason}" if reason else words)
    told = {"act": considered.act, "name": considered.name, "reason": reason, "policy": policy, "by": by}
    error.detail = {key: value for key, value in told.items() if value is not None}
    return error
