"""The ReAct planner: think, act, look, think again, until the model answers.

After Yao et al., "ReAct: Synergizing Reasoning and Acting in Language Models", 2022, arXiv:2210.03629. There thought
and action are lines of text that the caller parses; here that is one of two voices (`text`), and the other is the
model's own tool calling, which models since then are trained on. All else is the paper's loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from opspawn.agentkit.judging import Judge
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.planner import PlannerResult, Reason
from opspawn.contracts.run import AgentContext
from opspawn.errors import StepLimit
from opspawn_planner_react.circles import Circles
from opspawn_planner_react.voices import NativeVoice, TextVoice, Turn, Voice

Mode = Literal["auto", "native", "text"]

_GO_ON = "Use what you know already, or do something else."
_FINISH = "You cannot call tools any more. Give your final answer now from what you know; say what is missing in it."


class ReactPlanner:
    """Thinks and acts until the model answers without calling a tool; keeps nothing between runs.

    Reasons with an output: "answered"; "length" and "refused" when the provider cut the answer off there, which the run
    also tells as an event `custom.answer_cut_off`; "step_limit" and "loop" with `finish`.
    """

    def __init__(self, *, max_repeats: int = 3, mode: Mode = "auto", finish: bool = False) -> None:
        """Make a planner.

        Args:
            max_repeats: 2 or more: how often in a row a model may ask for the same calls with the same arguments, or go
                through the same circle of up to four. The last of these is not carried out; the model is told instead.
                If it goes on, the run ends.
            mode: "native" for the model's own tool calling, "text" for lines of text, "auto" for text where the model
                is known to call no tools.
            finish: whether the model is asked for an answer without tools when a limit is reached, beyond `max_steps`;
                by default the run fails.
        """
        self._max_repeats = max_repeats
        self._mode = mode
        self._finish = finish

    async def run(self, context: AgentContext) -> PlannerResult:
        """Work on the input until there is an answer.

        Raises:
            StepLimit: `context.max_steps` model calls did not suffice, or the model turns in circles.
            ModelError: the model failed, or answered with nothing twice in a row (invalid_output), or refused to.
        """
        return await _Run(context, self._voice(context), self._max_repeats, self._finish).run()

    def _voice(self, context: AgentContext) -> Voice:
        in_text = self._mode == "text" or (self._mode == "auto" and context.capabilities.tools is False)
        return TextVoice() if in_text and context.tools else NativeVoice()


class _Run:
    """One run, and where it stands."""

    def __init__(self, context: AgentContext, voice: Voice, max_repeats: int, finish: bool) -> None:
        self._context = context
        self._voice = voice
        self._circles = Circles(max_repeats)
        self._finish = finish
        self._messages = voice.opening(context)
        self._judge = Judge(context)

    async def run(self) -> PlannerResult:
        context = self._context
        for _ in range(context.max_steps):
            turn = await self._voice.turn(context, self._messages)
            if turn.calls:
                self._judge.acted()
                if (circle := await self._act(turn)) is not None:
                    return await self._stopped("loop", circle)
            elif turn.fault is not None:
                self._messages += [turn.message, Message("user", turn.fault)]
            else:
                judged = await self._judge.judge(turn.response, turn.answer)
                if isinstance(judged, PlannerResult):
                    return judged
                self._messages.append(judged)
        error = StepLimit(
            f"The agent {context.agent!r} made {context.max_steps} model calls and has no answer.",
            remedy="Raise its max_steps, or give it a smaller task.",
        )
        return await self._stopped("step_limit", error)

    async def _act(self, turn: Turn) -> StepLimit | None:
        """Carry calls out, or tell the model that it turns in circles; the error if it was told before."""
        self._messages.append(turn.message)
        times, warned = self._circles.turn(turn.calls)
        if not times:
            self._messages += self._voice.told(await self._context.act(turn.calls))
            return None
        if warned:
            return StepLimit(
                f"The model turns in circles: it asked {times} times in a row for {_in_words(turn.calls)}.",
                remedy="Make the tool's result clearer, or raise max_repeats in [plugins.react].",
            )
        words = f"Not carried out: you asked for this {times} times in a row. {_GO_ON}"
        self._messages += self._voice.refused(turn.calls, words)
        return None

    async def _stopped(self, reason: Reason, error: StepLimit) -> PlannerResult:
        """At a limit: a last answer without tools where that is wanted. Raises: StepLimit."""
        error.reason = reason
        if not self._finish:
            raise error
        messages = list(self._messages)
        if messages[-1].tool_calls:
            messages.pop()
        messages.append(Message("user", _FINISH))
        last = await self._voice.last(self._context, messages)
        if not last.answer.strip():
            raise error
        return PlannerResult(last.answer, reason)


def _in_words(calls: Sequence[ToolCall]) -> str:
    return ", ".join(f"{call.name}({_compact(call.arguments)[:100]})" for call in calls)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
