"""An agent answers with the type that it was given, or says in words that it cannot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from opspawn.agentkit import Agent, tool
from opspawn.contracts.model import Message, ModelCapabilities, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.errors import ConfigError, ModelError, ModelRetry
from opspawn.testing import LoopPlanner, ScriptedModel


class Invoice(BaseModel):
    """An invoice."""

    number: str
    total: float = Field(ge=0)


class Refusal(BaseModel):
    reason: str


@dataclass
class City:
    name: str
    people: int


class Place(TypedDict):
    name: str


class Knows(ScriptedModel):
    """A scripted model that says what it can do."""

    can = ModelCapabilities(tools=True, output_schema=True)

    def capabilities(self, model: str) -> ModelCapabilities:
        return self.can


class KnowsNothing(Knows):
    can = ModelCapabilities(tools=False, output_schema=False)


def answers(**arguments: Any) -> ToolCall:
    return ToolCall("a", "final_answer", arguments)


@pytest.mark.parametrize(
    ("output", "said", "value"),
    [
        (Invoice, answers(number="A1", total=3), Invoice(number="A1", total=3)),
        (City, answers(name="Bern", people=5), City("Bern", 5)),
        (Place, answers(name="Bern"), {"name": "Bern"}),
        (list[City], answers(answer=[{"name": "Bern", "people": 5}]), [City("Bern", 5)]),
        (int, answers(answer=4), 4),
        (City | None, answers(answer=None), None),
        ((Invoice, Refusal), ToolCall("a", "final_answer_Refusal", {"reason": "no"}), Refusal(reason="no")),
        (Invoice | str, "There is none.", "There is none."),
        (Invoice, '{"number": "A1", "total": 3}', Invoice(number="A1", total=3)),
        ({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}, answers(n=1), {"n": 1}),
    ],
)
async def test_the_answer_is_a_value_of_the_type(agent, output, said, value):
    result = await agent("clerk", ScriptedModel([said]), output=output).run("Read it.")

    assert result.output == value
    assert type(result.output) is type(value)


async def test_a_model_is_told_of_the_type_by_a_tool_beside_the_agents_own(agent):
    model = ScriptedModel([answers(number="A1", total=3)])

    await agent("clerk", model, output=Invoice, tools=[look_up]).run("Read it.")

    own, final = model.requests[0].tools
    assert (own.name, final.name) == ("look_up", "final_answer")
    assert final.description.startswith("An invoice.")
    assert set(final.parameters["properties"]) == {"number", "total"}


async def test_a_vendor_that_can_hold_an_answer_to_a_schema_gets_the_schema(agent):
    model = Knows(['{"answer": [{"name": "Bern", "people": 5}]}'])

    result = await agent("clerk", model, output=list[City]).run("Which?")

    assert result.output == [City("Bern", 5)]
    assert model.requests[0].output_schema["required"] == ["answer"]
    assert model.requests[0].tools == ()


async def test_a_model_that_can_do_nothing_reads_the_schema_in_its_instructions(agent):
    model = KnowsNothing(['Sure:\n```json\n{"name": "Bern"}\n```', '```json\n{"name": "Bern"}\n```'])

    result = await agent("clerk", model, output=Place, instructions="Be brief.").run("Which?")

    assert result.output == {"name": "Bern"}
    system = model.requests[0].messages[0]
    assert system.content.startswith("Be brief.\n\n")
    assert '"name"' in system.content
    assert (model.requests[0].tools, model.requests[0].output_schema) == ((), None)


async def test_a_wrong_answer_goes_back_to_the_model_with_what_is_wrong(agent):
    model = ScriptedModel([answers(number="A1", total=-3), "Three.", answers(number="A1", total=3)])

    result = await agent("clerk", model, output=Invoice).run("Read it.")

    assert result.output == Invoice(number="A1", total=3)
    told = model.requests[1].messages[-1]
    assert (told.role, told.tool_call_id, told.is_error) == ("tool", "a", True)
    assert "total: should be greater than or equal to 0, not -3" in told.content
    assert "final_answer" in model.requests[2].messages[-1].content
    assert result.usage.requests == 3


async def test_a_model_that_never_answers_right_ends_the_run_in_words(agent):
    model = ScriptedModel([answers(number="A1")] * 2)

    with pytest.raises(ModelError, match=r"answered 2 times, and never with what is wanted.*total: is missing") as info:
        await agent("clerk", model, output=Invoice, output_retries=1).run("Read it.")

    assert info.value.error_type == "invalid_output"


async def test_an_answer_beside_other_calls_waits_for_their_results(agent):
    both = [ToolCall("1", "look_up", {"number": "A1"}), answers(number="A1", total=0)]
    model = ScriptedModel([both, answers(number="A1", total=3)])

    result = await agent("clerk", model, output=Invoice, tools=[look_up]).run("Read it.")

    assert result.output.total == 3
    assert model.requests[1].messages[-1] == Message("tool", "3", (), "1")
    assert [call.name for call in model.requests[1].messages[-2].tool_calls] == ["look_up"]


async def test_validators_may_change_an_answer_or_send_it_back(agent):
    def whole(context: AgentContext, invoice: Invoice) -> Invoice:
        if invoice.total != int(invoice.total):
            raise ModelRetry(f"Round it, {context.deps}.")
        return invoice.model_copy(update={"number": invoice.number.upper()})

    model = ScriptedModel([answers(number="a1", total=3.5), answers(number="a1", total=4)])

    result = await agent("clerk", model, output=Invoice, output_validators=[whole]).run("Read it.", deps="please")

    assert result.output == Invoice(number="A1", total=4)
    assert "Round it, please." in model.requests[1].messages[-1].content


async def test_validators_check_plain_text_too(agent):
    def short(text: str) -> str:
        if len(text) > 5:
            raise ModelRetry("Too long.")
        return text

    result = await agent("clerk", ScriptedModel(["Far too long.", "Yes."]), output_validators=[short]).run("?")

    assert result.output == "Yes."


async def test_an_answer_that_a_planner_made_up_must_fit_as_well(agent):
    class MadeUp:
        async def run(self, context: AgentContext) -> PlannerResult:
            await context.think([Message("user", "?")], output=None)
            return PlannerResult("It is three.")

    model = ScriptedModel(["thinking", answers(number="A1", total=3)])

    result = await agent("clerk", model, output=Invoice, planner=MadeUp()).run("Read it.")

    assert result.output == Invoice(number="A1", total=3)


async def test_a_planner_may_ask_for_other_types_in_between(agent):
    class Plans:
        async def run(self, context: AgentContext) -> PlannerResult:
            made = await context.think([Message("user", "Plan.")], tools=(), output=list[City])
            return PlannerResult(json.loads(made.text)[0]["name"])

    model = ScriptedModel([answers(answer=[{"name": "Bern"}]), answers(answer=[{"name": "Bern", "people": 1}])])

    result = await agent("clerk", model, planner=Plans()).run("?")

    assert result.output == "Bern"
    assert "people: is missing" in model.requests[1].messages[-1].content


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"output": 5}, "as its output 5, which is no type"),
        ({"output": {"type": "thing"}}, "as its output a schema that cannot be used: type"),
        ({"output": ()}, "as its output no type"),
        ({"output_mode": "loud"}, "output_mode='loud'"),
        ({"output_retries": -1}, "output_retries=-1; a whole number from 0"),
        ({"output_validators": [5]}, "5 among its output_validators"),
    ],
)
def test_what_is_wrong_is_said_at_definition_in_one_line_with_the_agents_name(agent, given, words):
    with pytest.raises(ConfigError) as info:
        agent("clerk", ScriptedModel([]), **given)

    assert "'clerk'" in str(info.value)
    assert words in str(info.value)
    assert "\n" not in str(info.value)


@tool(effect="read")
async def look_up(number: str) -> int:
    """Look an invoice up."""
    return 3


async def test_an_answer_outside_its_object_is_told_where_it_belongs() -> None:
    wrong, right = ToolCall("1", "final_answer", {"value": 3}), ToolCall("2", "final_answer", {"answer": 3})
    model = ScriptedModel([wrong, right])

    result = await Agent("a", model=model, planner=LoopPlanner(), output=int).run("?")

    assert result.output == 3
    assert "the answer belongs into 'answer', and nothing else" in model.requests[1].messages[-1].content
