"""A kit resolves names to plugins, opens each once, and says what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from opspawn.agentkit import Agent, Kit, tool
from opspawn.agentkit.replay import opspawn_models
from opspawn.contracts.model import ModelProvider
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.plugins import ModelPlugin, PlannerPlugin, PluginConfig, PluginRecord, ToolPlugin
from opspawn.contracts.run import AgentContext
from opspawn.errors import ConfigError, PluginError
from opspawn.testing import ScriptedModel


class Shelf:
    """The part of `opspawn.plugins.Plugins` that a kit uses, filled by hand."""

    def __init__(self, *records: PluginRecord) -> None:
        self._records = records

    def get(self, kind: str, name: str) -> PluginRecord:
        kinds = {"model": ModelPlugin, "planner": PlannerPlugin, "tool": ToolPlugin}
        for record in self._records:
            if isinstance(record, kinds[kind]) and record.name == name:
                return record
        raise PluginError(f"No plugin offers the {kind} {name!r}.")

    def section(self, record: PluginRecord, sections: Mapping[str, Mapping[str, Any]]) -> PluginConfig:
        return record.config(**sections.get(record.name, {}))


def kit(*records: PluginRecord, **options: Any) -> Kit:
    return Kit(Shelf(*records), **options)  # type: ignore[arg-type]


class OneThought:
    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult((await context.think([])).text)


@tool(effect="read")
async def web(url: str) -> str:
    """Fetch a page."""
    return url


def opening(provider: ModelProvider, opened: list[Any]) -> Callable[[Any], ModelProvider]:
    def open(section: Any) -> ModelProvider:
        opened.append(section)
        return provider

    return open


async def test_names_are_resolved_and_each_thing_is_opened_once():
    opened: list[Any] = []
    model = ScriptedModel(["one", "two"])
    agent = Agent("helper", model="echo:m-1", planner="think", tools=["web"], settings={"seed": 7})
    own = kit(
        ModelPlugin("echo", opening(model, opened)),
        PlannerPlugin("think", lambda _: OneThought()),
        ToolPlugin("web", lambda _: web),
    )

    outputs = [(await agent.run("x", kit=own)).output for _ in range(2)]

    assert outputs == ["one", "two"]
    assert len(opened) == 1
    assert model.requests[0].model == "m-1"
    assert model.requests[0].settings == {"seed": 7}
    assert [spec.name for spec in model.requests[0].tools] == ["web"]


def test_the_name_of_a_model_may_hold_colons():
    assert kit(ModelPlugin("echo", lambda _: ScriptedModel([]))).model("echo:llama3:8b").name == "llama3:8b"


def test_an_agent_without_a_model_gets_the_configured_one():
    own = kit(ModelPlugin("echo", lambda _: ScriptedModel([])), model="echo:m-2")

    assert own.model(None).name == "m-2"
    assert own.model("echo:m-1").name == "m-1"


async def test_without_any_model_the_error_names_the_agent_and_the_remedies():
    agent = Agent("helper", planner=OneThought())

    with pytest.raises(ConfigError) as caught:
        await agent.run("x", kit=kit())

    assert str(caught.value) == (
        "No model is set for the agent 'helper'. "
        'Give it model="openai:gpt-5", or set OPSPAWN_MODEL, or model in opspawn.toml.'
    )


@pytest.mark.parametrize("spec", ["gpt-5", ":gpt-5", "openai:"])
def test_a_model_without_its_provider_is_refused_with_an_example(spec: str):
    with pytest.raises(ConfigError, match=r"names no provider\. Write PROVIDER:MODEL, e\.g\. openai:"):
        kit().model(spec)


async def test_what_is_not_installed_is_told_before_the_run():
    with pytest.raises(PluginError, match="No plugin offers the model 'echo'"):
        Agent("helper", model="echo:m-1", planner=OneThought()).handler(kit())
    with pytest.raises(PluginError, match="No plugin offers the planner 'react'"):
        Agent("helper", model=ScriptedModel([])).handler(kit())
    with pytest.raises(PluginError, match="No plugin offers the tool 'web'"):
        Agent("helper", model=ScriptedModel([]), planner=OneThought(), tools=["web"]).handler(kit())


def test_a_plugin_that_fails_to_open_is_named():
    def fail(_: Any) -> ModelProvider:
        raise OSError("no such device")

    with pytest.raises(PluginError, match="The plugin 'echo' cannot be opened: OSError: no such device"):
        kit(ModelPlugin("echo", fail)).model("echo:m-1")


def test_a_tool_that_calls_itself_otherwise_is_refused():
    with pytest.raises(PluginError, match="The plugin of the tool 'net' opened one that is called 'web'"):
        kit(ToolPlugin("net", lambda _: web)).tool("net")


def test_a_plugin_gets_its_section():
    class Config(PluginConfig):
        speed: int = 1

    opened: list[Any] = []
    own = kit(ModelPlugin("echo", opening(ScriptedModel([]), opened), Config), sections={"echo": {"speed": 3}})

    own.model("echo:m-1")

    assert opened == [Config(speed=3)]


async def test_closing_closes_the_providers_once():
    model = ScriptedModel([])
    own = kit(ModelPlugin("echo", lambda _: model))
    own.model("echo:m-1")

    await own.aclose()
    await own.aclose()

    assert model.closed


def test_replay_finds_its_file_beside_opspawn_toml_and_tells_at_once_when_it_is_missing(tmp_path: Path):
    (tmp_path / "calls.jsonl").write_text('{"digest": "d", "response": {"text": "hi"}}\n', "utf-8")
    own = kit(*opspawn_models(), root=tmp_path)

    assert own.model("replay:calls.jsonl").name == "calls.jsonl"
    with pytest.raises(ConfigError, match=r"other\.jsonl' cannot be read"):
        own.model("replay:other.jsonl")


def test_a_root_in_the_section_goes_before_the_folder_of_opspawn_toml(tmp_path: Path):
    (tmp_path / "calls.jsonl").write_text('{"digest": "d", "response": {"text": "hi"}}\n', "utf-8")
    own = kit(*opspawn_models(), root=Path("/nowhere"), sections={"replay": {"root": str(tmp_path)}})

    assert own.model("replay:calls.jsonl").name == "calls.jsonl"


def test_an_agents_own_kit_is_loaded_once_per_event_loop_and_closed_with_it(monkeypatch: pytest.MonkeyPatch):
    models: list[ScriptedModel] = []

    def open(_: Any) -> ModelProvider:
        models.append(ScriptedModel(["one", "two"]))
        return models[-1]

    monkeypatch.setattr(Kit, "load", lambda: kit(ModelPlugin("echo", open)))
    agent = Agent("helper", model="echo:m-1", planner=OneThought())

    async def twice() -> list[Any]:
        outputs = [(await agent.run("x")).output for _ in range(2)]
        assert not models[-1].closed
        return outputs

    assert [asyncio.run(twice()), asyncio.run(twice())] == [["one", "two"], ["one", "two"]]
    assert [model.closed for model in models] == [True, True]
