"""Questions and approvals as the forms that MCP clients show, and what was filled in as answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult

from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.transport import Host
from opspawn.errors import InvalidInput

_PLAIN = ("string", "integer", "number", "boolean")
#: What a form may say of a text, a number, a yes or no.
_SAID = ("type", "title", "description", "enum", "default", "minimum", "maximum", "minLength", "maxLength", "format")
_DECIDE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "title": "Decision", "enum": ["approve", "deny"]},
        "reason": {"type": "string", "title": "Reason", "description": "Told to the model, if you deny it."},
    },
    "required": ["decision"],
}


def form_of(asked: AskedQuestion) -> ElicitRequest:
    """The form in which a client's human answers a question."""
    params = ElicitRequestFormParams(message=asked.question.text, requested_schema=_schema(asked))
    return ElicitRequest(params=params)


async def fill_in(host: Host, asked: AskedQuestion, said: ElicitResult, by: str) -> bool:
    """Answer a question as its form was filled in; False if it was not.

    Raises: InvalidInput: the answer does not fit. InvalidTransition: somebody else was faster.
    """
    content = said.content or {}
    if asked.question.kind == "approval":
        if said.action == "cancel":
            return False
        if said.action == "accept" and content.get("decision") == "approve":
            await host.approve(asked.id, by=by)
        else:
            await host.deny(asked.id, str(content.get("reason") or ""), by=by)
        return True
    if said.action != "accept":
        return False
    await host.answer(asked.id, _value(asked, content), by=by)
    return True


def _schema(asked: AskedQuestion) -> dict[str, Any]:
    question = asked.question
    if question.kind == "approval":
        return _DECIDE
    if _is_flat(question.schema):
        assert question.schema is not None
        fields = {name: _field(spec) for name, spec in question.schema["properties"].items()}
        return {"type": "object", "properties": fields, "required": list(question.schema.get("required") or ())}
    one: dict[str, Any] = {"type": "string", "title": "Answer"}
    if question.choices:
        one["enum"] = [_shown(choice) for choice in question.choices]
    elif question.kind == "plan":
        one["enum"] = ["approve", "reject"]
    elif question.schema is not None and question.schema.get("type") in _PLAIN:
        one = {"title": "Answer", **_field(question.schema)}
    elif question.schema is not None:
        one["description"] = f"JSON that fits {json.dumps(dict(question.schema), ensure_ascii=False)}"
    return {"type": "object", "properties": {"answer": one}, "required": ["answer"]}


def _value(asked: AskedQuestion, content: Mapping[str, Any]) -> Any:
    question = asked.question
    if _is_flat(question.schema):
        return dict(content)
    if "answer" not in content:
        raise InvalidInput("The form has no answer.")
    answer = content["answer"]
    if question.choices:
        return next((choice for choice in question.choices if _shown(choice) == answer), answer)
    if question.kind == "plan":
        return {"decision": answer}
    if question.schema is None or question.schema.get("type") in _PLAIN or not isinstance(answer, str):
        return answer
    try:
        return json.loads(answer)
    except ValueError:
        return answer


def _is_flat(schema: Mapping[str, Any] | None) -> bool:
    """Whether a schema is an object of plain members, which is what a form can show."""
    if schema is None or schema.get("type") != "object":
        return False
    members = schema.get("properties") or {}
    return bool(members) and all(spec.get("type") in _PLAIN for spec in members.values())


def _field(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: spec[name] for name in _SAID if spec.get(name) is not None}
    if "enum" in kept and (kept["type"] != "string" or not all(isinstance(one, str) for one in kept["enum"])):
        del kept["enum"]  # forms have choices of texts only; the engine checks the answer
    return kept


def _shown(choice: Any) -> str:
    return choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False)
