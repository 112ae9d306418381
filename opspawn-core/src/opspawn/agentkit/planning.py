"""Showing a plan and having it approved: the event, the question, and what the answer means."""

from __future__ import annotations

from typing import Any

from opspawn.agentkit.digests import digest
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.questions import MAX_TEXT, make_question
from opspawn.contracts.plan import Plan, PlanStep, PlanVerdict
from opspawn.contracts.question import Answer, Question

#: The answers that fit the question of a plan.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "enum": ["approve", "revise", "reject"]},
        "plan": {"type": "object"},
        "words": {"type": "string"},
    },
    "required": ["decision"],
    "additionalProperties": False,
}
NOBODY = {"decision": "reject", "words": "Nobody decided in time."}
_SHOWN = 160  # characters of a step in the question's text; `Question.call` has the plan whole


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON, without what says nothing."""
    told: dict[str, Any] = plan.model_dump(mode="json", exclude_none=True)
    return {
        "steps": [{name: value for name, value in step.items() if value not in ("", [], {})} for step in told["steps"]]
    }


def plan_question(agent: str, plan: Plan, remark: str, to: str | None) -> Question:
    """The question of whether a plan may be carried out. Raises: InvalidInput: `to` is no role or person."""
    lines = [f"May {agent} carry out this plan?", *(in_a_line(step) for step in plan.steps)]
    text = "\n".join([remark, *lines] if remark else lines)
    text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 2]} …"
    plain = plan_json(plan)
    made = make_question(text, None, SCHEMA, to, kind="plan", digest=digest(["plan", plain]))
    return Question(made.text, made.choices, made.schema, made.to, "plan", made.digest, {"act": "plan", "plan": plain})


def verdict_of(answer: Answer) -> PlanVerdict:
    """What the answer says."""
    return PlanVerdict.model_validate({**plain_json(answer.value), "by": answer.by})


def in_a_line(step: PlanStep) -> str:
    """A step for people: `look: stock(article='kettle') [read] after find. How many there are`."""
    inputs = ", ".join(f"{name}={value!r}" for name, value in step.inputs.items())
    inputs = inputs if len(inputs) <= _SHOWN else f"{inputs[:_SHOWN]}…"
    what = f"{step.tool or 'think'}({inputs})"
    effect = f" [{step.effect}]" if step.effect else ""
    after = f" after {', '.join(step.needs)}" if step.needs else ""
    about = " ".join(step.description.split())
    about = about if len(about) <= _SHOWN else f"{about[:_SHOWN]}…"
    return f"- {step.id}: {what}{effect}{after}{f'. {about}' if about else ''}"
