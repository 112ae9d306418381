"""The planner plan-execute: plan, have it approved, carry it out, and answer, or plan again what failed.

After Wang et al., "Plan-and-Solve Prompting", 2023, arXiv:2305.04091, who have a model write the plan first. That
inputs refer to results which are not there yet is from Xu et al., "ReWOO", 2023, arXiv:2305.18323; that what does not
depend on one another runs at once, and that the model joins in again afterwards, from Kim et al., "An LLM Compiler for
Parallel Function Calling", 2023, arXiv:2312.04511.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opspawn.agentkit.judging import Judge
from opspawn.contracts.content import Text
from opspawn.contracts.model import Message
from opspawn.contracts.plan import Plan, PlanVerdict
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.contracts.tool import Tool
from opspawn.errors import Denied, ModelError, StepLimit
from opspawn_planner_plan.carrying import Outcome, carry_out, report
from opspawn_planner_plan.checking import ALL_DONE, Bounds, Known, read_plan
from opspawn_planner_plan.voices import NativeVoice, TextVoice, Turn, Voice, catalogue

_FINISH = "You cannot plan any more. Give your final answer now from what you know; say what is missing in it."


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanExecutePlanner:
    """Makes a plan, carries it out, and goes on until the model answers; keeps nothing between runs.

    Attributes:
        approve: which plans a person must approve: "always" each, "effects" those that do more than read, "never".
        approvers: who is asked. approve_timeout_s: seconds after which nobody's answer counts as a rejection.
        max_parallel: how many steps are at work at once. max_plan_steps: how many steps a plan may have.
        max_replans: how many plans may follow the first.
        repairs: how often in a row the model may mend a plan that cannot be carried out.
        mode: "native" by a call of a tool, "text" as JSON in text, "auto" in text where the model calls no tools.
        finish: whether the model is asked for an answer without a plan when a limit is reached; by default the run
            fails.
    """

    approve: Literal["always", "effects", "never"] = "never"
    approvers: str | None = None
    approve_timeout_s: float | None = None
    max_parallel: int = 4
    max_plan_steps: int = 20
    max_replans: int = 3
    repairs: int = 2
    mode: Literal["auto", "native", "text"] = "auto"
    finish: bool = False

    async def run(self, context: AgentContext) -> PlannerResult:
        """Work on the input until there is an answer.

        Raises:
            StepLimit: `max_steps` model calls, or the plans of `max_replans`, did not suffice.
            ModelError: the model failed, made no plan that can be carried out (invalid_output), answered with nothing
                or refused to.
            Denied: a person rejected a plan; its reason is "rejected".
        """
        in_text = self.mode == "text" or (self.mode == "auto" and context.capabilities.tools is False)
        return await _Run(self, context, TextVoice() if in_text else NativeVoice()).run()


class _Run:
    """One run, and where it stands."""

    def __init__(self, settings: PlanExecutePlanner, context: AgentContext, voice: Voice) -> None:
        self._settings = settings
        self._context = context
        self._voice = voice
        self._judge = Judge(context)
        self._messages: list[Message] = []
        self._done: dict[str, Outcome] = {}
        self._asked = 0  # model calls
        self._plans = 0  # that were carried out
        self._faulty = 0  # in a row
        self._moving: dict[str, Known] = {}

    async def run(self) -> PlannerResult:
        context = self._context
        # Recorded, since the descriptions of tools may be others when the run begins anew with newer code.
        self._messages = self._voice.opening(context, self._known(await context.step("tools", self._catalogue)))
        while self._asked < context.max_steps:
            self._asked += 1
            turn = await self._voice.turn(context, self._messages)
            if turn.draft is not None and self._plans > self._settings.max_replans:
                words = f"The agent {context.agent!r} made {self._plans} plans, wants another one, and has no answer."
                remedy = "Raise max_replans in [plugins.plan-execute], or give it a smaller task."
                return await self._stopped(StepLimit(words, remedy=remedy))
            if turn.draft is not None:
                if (circle := await self._planned(turn)) is not None:
                    return await self._stopped(circle)
            elif turn.fault is not None:
                self._misfit(turn, turn.fault)
            else:
                judged = await self._judge.judge(turn.response, turn.answer)
                if isinstance(judged, PlannerResult):
                    return judged
                self._messages.append(judged)
        words = f"The agent {context.agent!r} made {context.max_steps} model calls and has no answer."
        return await self._stopped(StepLimit(words, remedy="Raise its max_steps, or give it a smaller task."))

    async def _catalogue(self) -> Any:
        """The tools in words; and of those that come and go what a plan is checked against, so that one which was read
        before a crash is read alike after it.
        """
        tools = await self._context.offered()
        own = {tool.name for tool in self._context.tools}
        moving = [[tool.name, tool.effect, tool.parameters] for tool in tools if tool.name not in own]
        return {"text": catalogue(tools), "tools": moving} if moving else catalogue(tools)

    def _known(self, recorded: Any) -> str:
        """Take in what was recorded; the tools in words."""
        if isinstance(recorded, str):
            return recorded
        self._moving = {name: Known(name, effect, parameters) for name, effect, parameters in recorded["tools"]}
        return str(recorded["text"])

    async def _stopped(self, error: StepLimit) -> PlannerResult:
        """At a limit: a last answer without a plan where that is wanted. Raises: StepLimit."""
        if not self._settings.finish:
            raise error
        last = await self._voice.turn(self._context, [*self._messages, Message("user", _FINISH)], last=True)
        if not last.answer.strip():
            raise error
        return PlannerResult(last.answer, "loop" if error.reason == "loop" else "step_limit")

    # -- a plan --------------------------------------------------------------------------------------------------------

    async def _planned(self, turn: Turn) -> StepLimit | None:
        """Check a plan, have it approved, carry it out, and tell the model what came of it; the error if it was told
        often enough that the plan is done.
        """
        plan, faults = self._read(turn.draft)
        if plan is None:
            if faults == [ALL_DONE] and self._faulty >= self._settings.repairs:
                return _in_circles()
            self._misfit(turn, f"Nothing was carried out, the plan does not do: {'; '.join(faults)}.")
            return None
        self._faulty = 0
        self._judge.acted()
        approved, verdict = await self._approved(plan)
        if approved is None:
            words = f"Nothing was carried out. {verdict.by or 'A person'} wants another plan. {verdict.words}".strip()
            self._messages += self._voice.told(turn, words)
            return None
        self._plans += 1
        self._asked += sum(step.tool is None for step in approved.steps)
        outcomes = await carry_out(self._context, approved, self._done, self._settings.max_parallel)
        self._done |= {outcome.step.id: outcome for outcome in outcomes if outcome.state == "done"}
        end = self._what_next(outcomes)
        if approved != plan:
            end = f"{verdict.by or 'A person'} changed your plan: the steps above are those that were wanted. {end}"
        parts = [part for outcome in outcomes for part in outcome.parts if not isinstance(part, Text)]
        self._messages += self._voice.told(turn, f"{report(outcomes)}\n\n{end}", tuple(parts))
        return None

    def _read(self, draft: Any) -> tuple[Plan | None, list[str]]:
        left = self._context.max_steps - self._asked - 1  # one is for the answer
        own: dict[str, Tool | Known] = {tool.name: tool for tool in self._context.tools}
        tools = {**own, **self._moving}
        done = {id: outcome.step for id, outcome in self._done.items()}
        return read_plan(draft, Bounds(tools, done, self._settings.max_plan_steps, left))

    def _misfit(self, turn: Turn, words: str) -> None:
        """Tell the model what is wrong. Raises: ModelError: it was told often enough."""
        self._faulty += 1
        if self._faulty > self._settings.repairs:
            raise ModelError(
                f"The model made {self._faulty} plans in a row that cannot be carried out. {words}",
                error_type="invalid_output",
                remedy="Take a stronger model, describe the tools better, or raise repairs in [plugins.plan-execute].",
            )
        self._messages += self._voice.told(turn, words)

    async def _approved(self, plan: Plan) -> tuple[Plan | None, PlanVerdict]:
        """The plan to carry out, or None where a person wants another one. Raises: Denied: they want none."""
        settings, propose = self._settings, self._context.propose
        beyond = any(step.effect != "read" for step in plan.steps)
        ask = settings.approve == "always" or (settings.approve == "effects" and beyond)
        remark = ""
        while True:
            verdict = await propose(
                plan, ask=ask, remark=remark, to=settings.approvers, timeout_s=settings.approve_timeout_s
            )
            if verdict.decision == "reject":
                raise _rejected(verdict)
            if verdict.decision == "revise":
                return None, verdict
            if verdict.plan is None:
                return plan, verdict
            changed, faults = self._read(verdict.plan)
            if changed is not None:
                await propose(changed, by=verdict.by or "a person")
                return changed, verdict
            remark = f"The changed plan cannot be carried out: {'; '.join(faults)}.\n"

    def _what_next(self, outcomes: Sequence[Outcome]) -> str:
        kept = f"Done are {', '.join(self._done)}; refer to their results as ${{ID}}." if self._done else ""
        if all(outcome.state == "done" for outcome in outcomes):
            return f"All steps are done. Answer now, or plan what is still to do, and only that. {kept}"
        failed = ", ".join(outcome.step.id for outcome in outcomes if outcome.state != "done")
        return f"Plan again what is not done ({failed}), differently where it failed, or answer. {kept}".strip()


def _in_circles() -> StepLimit:
    error = StepLimit(
        "The model turns in circles: it plans again and again what is done.",
        remedy="Make the results of the tools clearer, or take a stronger model.",
    )
    error.reason = "loop"
    return error


def _rejected(verdict: PlanVerdict) -> Denied:
    words = f" {verdict.words}" if verdict.words else ""
    error = Denied(f"{verdict.by} rejected the plan.{words}" if verdict.by else f"The plan was rejected.{words}")
    error.reason = "rejected"
    return error
