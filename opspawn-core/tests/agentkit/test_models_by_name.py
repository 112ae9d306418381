"""Models that are made of others, named in one text; models behind a network, forbidden; and tokens, counted."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from opspawn import Agent
from opspawn.agentkit import BoundModel, FunctionModel, Kit, fallback, record, replay
from opspawn.agentkit.tokens import count_tokens, estimate_tokens
from opspawn.contracts.model import Image, Message, ModelCapabilities, ModelRequest, ToolCall, ToolSpec
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.plugins import ModelPlugin
from opspawn.errors import ConfigError, ModelError
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found
from opspawn.testing import ScriptedModel, forbid_network_models

HELLO = ModelRequest("m", [Message("user", "Hello?")])


class Once:
    async def run(self, context):
        return PlannerResult((await context.think([Message("user", str(context.input))])).text)


def fail(request: ModelRequest) -> str:
    raise ModelError("Gone.", error_type="denied")


def kit(**options: Any) -> Kit:
    """A kit with a model that says its name, one that always fails, and the built-in ones."""
    own = [
        ModelPlugin("acme", lambda _: FunctionModel(lambda request: f"I am {request.model}.")),
        ModelPlugin("broken", lambda _: FunctionModel(fail)),
    ]
    built_in = [plugin for part in (fallback, record, replay) for plugin in part.opspawn_models()]
    named = [("model", plugin) for plugin in (*own, *built_in)]
    return Kit(Plugins([Found(EntryPoint("given", "given", "opspawn"), "given", "1", records=named)]), **options)


async def test_a_list_of_models_is_one_model():
    model = kit().model("fallback:broken:x, acme:small")

    answer = await model.complete(HELLO)

    assert (answer.text, answer.source) == ("I am small.", "acme:small")


async def test_the_configured_model_may_be_a_list():
    agent = Agent("a", planner=Once())

    result = await agent.run("Hello?", kit=kit(model="fallback:broken:x,acme:small"))

    assert result.output == "I am small."


async def test_an_agent_may_name_several():
    agent = Agent("a", model=["broken:x", "acme:small"], planner=Once(), settings={"seed": 1})

    result = await agent.run("Hello?", kit=kit())

    assert result.output == "I am small."
    assert agent.model == "broken:x, acme:small"


async def test_names_and_objects_may_stand_in_one_list():
    model = ScriptedModel(["Mine."])

    result = await Agent("a", model=["broken:x", model], planner=Once(), settings={"seed": 1}).run("Hi.", kit=kit())

    assert result.output == "Mine."
    assert model.requests[0].settings == {"seed": 1}


async def test_settings_of_the_section_hold_for_a_list():
    model = kit(sections={"fallback": {"on": ["transient"]}}).model("fallback:broken:x,acme:small")

    with pytest.raises(ModelError, match="Gone"):
        await model.complete(HELLO)


async def test_any_model_can_be_recorded_and_played(tmp_path):
    recorded = kit(root=tmp_path).model("record:calls.jsonl:fallback:broken:x,acme:small")
    said = await recorded.complete(HELLO)

    played = await kit(root=tmp_path).model("replay:calls.jsonl").complete(ModelRequest("calls.jsonl", HELLO.messages))

    assert (said.text, played.text) == ("I am small.", "I am small.")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("fallback:broken:x,nobody:y", "nobody"),
        ("fallback:acme", "names no provider"),
        ("record:calls.jsonl", "does not say what to record"),
        ("record:calls.jsonl:acme", "names no provider"),
    ],
)
def test_a_name_that_means_nothing_is_refused_at_once(spec, words):
    with pytest.raises(ConfigError, match=words):
        kit().model(spec)


@pytest.mark.parametrize("spec", ["acme:m", "fallback:acme:m,acme:n", "record:calls.jsonl:acme:m"])
def test_models_behind_a_network_can_be_forbidden(spec):
    own = kit()
    own.model("acme:m")

    with forbid_network_models(), pytest.raises(ConfigError, match="'acme' reaches a network, and network_models is"):
        own.model(spec)

    own.model(spec)
    with pytest.raises(ConfigError, match="OPSPAWN_NETWORK_MODELS=true"):
        kit(network_models=False).model(spec)


async def test_recordings_and_objects_answer_though_the_network_is_forbidden(tmp_path):
    (tmp_path / "calls.jsonl").write_text("")

    with forbid_network_models():
        kit(root=tmp_path).model("replay:calls.jsonl")
        result = await Agent("a", model=ScriptedModel(["Hi."]), planner=Once()).run("Hello?")

    assert result.output == "Hi."
    assert "OPSPAWN_NETWORK_MODELS" not in os.environ


def test_an_estimate_grows_with_all_that_is_sent():
    tool = ToolSpec("search", "Search the handbook.", {"type": "object", "properties": {"query": {"type": "string"}}})
    call = Message("assistant", "", (ToolCall("1", "search", {"query": "x" * 400}),))
    plain = estimate_tokens(HELLO)

    assert 4 <= plain <= 10
    assert estimate_tokens(ModelRequest("m", HELLO.messages, [tool])) > plain + 20
    assert estimate_tokens(ModelRequest("m", [*HELLO.messages, call])) > plain + 100
    shown = Message("user", "", parts=(Image(b"x", "image/png"),))
    assert estimate_tokens(ModelRequest("m", [*HELLO.messages, shown])) > plain + 1000


@pytest.mark.parametrize(("able", "counted"), [(True, 77), (False, estimate_tokens(HELLO))])
async def test_the_vendor_counts_where_it_can(able, counted):
    class Counts(ScriptedModel):
        def capabilities(self, model):
            return ModelCapabilities(count_tokens=able)

        async def count_tokens(self, request):
            return 77

    assert await count_tokens(BoundModel(Counts([]), "m"), HELLO) == counted


async def test_a_vendor_that_cannot_count_now_is_estimated():
    class Fails(ScriptedModel):
        def capabilities(self, model):
            return ModelCapabilities(count_tokens=True)

        async def count_tokens(self, request):
            raise ModelError("Busy.")

    assert await count_tokens(BoundModel(Fails([]), "m"), HELLO) == estimate_tokens(HELLO)
